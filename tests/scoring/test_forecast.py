"""What a sweep is about to do: told before, with nothing made for it, and why something is computed again."""

import numpy as np
import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import SweepSpec, Workspace
from robustbench_ekdaa.data import import_dataset
from robustbench_ekdaa.learning import job as learning_job
from robustbench_ekdaa.storing.store import reading

from ..support.forward_passes import CountCalls
from ..support.quick_models import write_card

SPEC = SweepSpec(
    datasets=("digits",), models=("quick_bp",), attacks=("fgsm", "noise"), epsilons=(0, 0.1, 0.2), images=20, seeds=1
)


def changed(**fields):
    return SPEC.model_copy(update=fields)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A workspace with a run of `SPEC`, and of a model that diverged."""
    folder = tmp_path_factory.mktemp("swept")
    write_card(folder, "quick_bp", "backprop", epochs=1)
    write_card(folder, "wild", "backprop", rate=3e38, epochs=1)
    rb.sweep(changed(models=("quick_bp", "wild"), attacks=("noise",)), folder / "run", workspace=folder)
    rb.sweep(SPEC, folder / "run", workspace=folder)
    return folder


def planned(swept, spec, workspace=None, **how):
    return rb.plan(spec, swept / "run", workspace=workspace or swept, device="cpu", **how)


def test_a_plan_tells_jobs_passes_bytes_and_time_and_makes_nothing(workspace, spec, tmp_path):
    found = rb.plan(spec, tmp_path / "run", workspace=workspace, device="cpu", workers=2)
    assert not (tmp_path / "run").exists()
    rows = {(one.kind, one.name): one for one in found.work}
    assert found.jobs == {"training": 4, "clean pass": 4, "attack": 4 + 4 + 1}
    digits = rb.load_dataset("digits", "train")
    assert rows["training", "quick_bp"].forward == rows["training", "quick_bp"].backward == 2 * 2 * len(digits)
    assert (rows["attack", "fgsm"].forward, rows["attack", "fgsm"].backward) == (4 * 60 * (1 + 2 * 4), 4 * 60)
    # BIM's first step is the same at both epsilons.
    assert rows["attack", "bim"].backward == 4 * 60 * (1 + 2 * 9)
    assert (rows["attack", "noise"].forward, rows["attack", "noise"].backward) == (60 * 2 * 4, 0)
    assert rows["clean pass", None].forward == 4 * 60
    assert {one.basis for one in found.work} == {"timed now"}
    assert all(one.seconds > 0 for one in found.work)
    assert found.seconds == pytest.approx(sum(one.seconds for one in found.work))
    assert (found.reasons, found.unknown, found.image_bytes, found.slots) == ((), (), 0, 2)
    cells = 4 + (4 + 4 + 1) * 2 * 4
    assert 60 * cells / 3 < found.outcome_bytes < 60 * cells * 6
    assert found.plain()["seconds"] == found.seconds
    saved = rb.plan(spec.model_copy(update={"save_images": True}), tmp_path / "run", workspace=workspace, device="cpu")
    assert saved.image_bytes == (4 + 4 + 1) * 2 * 60 * 64 * 4


def test_bytes_of_checkpoints_are_those_that_are_written(swept, tmp_path):
    (file,) = (swept / "run" / "checkpoints").glob("*.safetensors")
    told = rb.plan(SPEC, tmp_path / "run", workspace=swept, device="cpu").checkpoint_bytes
    assert told <= file.stat().st_size <= told + 4_000  # with the facts


def test_when_all_is_stored_nothing_is_to_be_done_and_no_network_is_asked(swept):
    with CountCalls() as count:
        found = planned(swept, SPEC)
    assert count.calls == found.seconds == found.outcome_bytes == 0
    assert found.jobs == {"training": 0, "clean pass": 0, "attack": 0}
    assert [one.stored for one in found.work] == [1, 1, 1, 1]
    assert found.reasons == ()


def test_times_are_those_that_the_run_has_measured_where_it_has(swept):
    found = planned(swept, changed(epsilons=(0, 0.1, 0.2, 0.3), seeds=2))
    assert {one.name: one.basis for one in found.work if one.kind != "clean pass"} == {
        "quick_bp": "measured",
        "fgsm": "measured",
        "noise": "measured",
    }
    with reading(swept / "run") as store:
        (record,) = (one for one in store.models().values() if one.name == "quick_bp")
        (images,) = store.everything().image_sets
        facts = store.crafting_facts(images)
    rows = {one.name: one for one in found.work}
    assert rows["quick_bp"].seconds == record.metrics["seconds"]  # one more seed, of one epoch
    fgsm = [facts[key]["seconds"] for key in facts if key.surrogate == record.key]
    # Two targets now, so that all four epsilons are crafted again on the first seed; and three on the second.
    assert rows["fgsm"].seconds == pytest.approx((3 + 3) * np.mean(fgsm))


def reason(found):
    (line,) = found.reasons
    return line


def test_a_plan_says_why_something_is_computed_again(swept, tmp_path, monkeypatch):
    assert reason(planned(swept, changed(images=30))) == "digits: other images: 20 then, 30 now"
    one, other = planned(swept, changed(seed=1)).reasons[:2]
    assert one == "digits: other images: chosen by the seed 0 then, 1 now"
    assert other == "fgsm: the sweep's seed: 0 then, 1 now"
    assert reason(planned(swept, changed(precision="bfloat16"))) == (
        "fgsm: the sweep's precision: 'float32' then, 'bfloat16' now"
    )
    write_card(tmp_path, "quick_bp", "backprop", rate=0.01, epochs=3)
    assert reason(planned(swept, SPEC, tmp_path)) == (
        "quick_bp: recipe.epochs: 1 then, 3 now; recipe.learning_rate: 0.05 then, 0.01 now (seed 0)"
    )
    card = (tmp_path / "models" / "quick_bp.toml").read_text().replace("width = 4", "width = 6")
    (tmp_path / "models" / "quick_bp.toml").write_text(card.replace("0.01", "0.05").replace("epochs = 3", "epochs = 1"))
    assert reason(planned(swept, SPEC, tmp_path)) == "quick_bp: its network is another (seed 0)"
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "fgsm.toml").write_text(
        'kind = "attack"\nname = "fgsm"\nsteps = 2\nstep_size = "epsilon"\n'
    )
    write_card(tmp_path, "quick_bp", "backprop", epochs=1)
    assert reason(planned(swept, SPEC, tmp_path)) == "fgsm: steps: 1 then, 2 now"
    monkeypatch.setattr(learning_job, "TRAINING_VERSION", 1_000)
    assert reason(planned(swept, SPEC)) == "quick_bp: another version of how models are trained (seed 0)"


def test_a_lost_checkpoint_and_a_failure_are_reasons(swept):
    found = planned(swept, changed(models=("quick_bp", "wild")), retry_failed=True)
    assert reason(found) == "wild: failed before (seed 0)"
    assert planned(swept, changed(models=("quick_bp", "wild"))).jobs["training"] == 0
    (file,) = (swept / "run" / "checkpoints").glob("*.safetensors")
    file.rename(swept / "away")
    try:
        found = planned(swept, SPEC)
        assert reason(found) == "quick_bp: its checkpoint is gone (seed 0)"
        assert found.jobs == {"training": 1, "clean pass": 0, "attack": 0}
    finally:
        (swept / "away").rename(file)


def test_data_of_other_content_are_a_reason(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(tmp_path / "data home"))
    write_card(tmp_path, "quick_bp", "backprop", epochs=1)
    for bright in (100, 200):
        arrays = {}
        for half, split in (("train", digits.train), ("test", digits.test)):
            pixels = (split.images[:100, 0] * bright).byte().numpy()
            arrays |= {f"{half}_images": pixels, f"{half}_labels": split.labels[:100].numpy()}
        np.savez(tmp_path / "source.npz", **arrays)
        import_dataset(tmp_path / "source.npz", "mine", replace=True)
        spec = changed(datasets=("mine",), attacks=("noise",))
        if bright == 100:
            rb.sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    found = rb.plan(spec, tmp_path / "run", workspace=tmp_path, device="cpu")
    assert found.reasons == (
        "mine: the data set has other content",
        "quick_bp: the data set has other content (seed 0)",
    )


def test_what_nobody_knows_before_is_said_so(swept):
    found = planned(swept, changed(attacks=("fgsm", "deepfool_l2")))
    assert found.unknown == ("deepfool_l2",)
    (row,) = (one for one in found.work if one.name == "deepfool_l2")
    assert (row.jobs, row.forward, row.backward, row.seconds, row.basis) == (1, None, None, None, "unknown")


def test_strict_versions_are_a_reason(swept):
    said = "made for versions or devices that are others now, or for any"
    assert planned(swept, changed(strict_versions=True)).reasons[:2] == (f"quick_bp: {said} (seed 0)", f"fgsm: {said}")
