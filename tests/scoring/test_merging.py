"""Several runs become one: as if all had been computed there, or not at all, with every reason told."""

import shutil
from dataclasses import replace

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import SweepSpec
from robustbench_ekdaa.crafting import save_adversarial
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.scoring.merging import MergeConflicts, merge_runs
from robustbench_ekdaa.storing.store import open_run, reading, writing

from ..support.forward_passes import CountCalls
from ..support.kept_lines import Lines
from ..support.quick_models import write_card

SPEC = SweepSpec(
    datasets=("digits",),
    models=("quick_bp", "quick_ekdaa"),
    attacks=("fgsm", "noise"),
    epsilons=(0, 0.1, 0.2),
    images=20,
    seeds=1,
    save_images=True,
)
PARTS = {
    "one": SPEC,
    "two": SPEC.model_copy(update={"attacks": ("fgsm", "ens_fgsm"), "epsilons": (0, 0.2, 0.3)}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs, each trained by itself, and a third in which both sweeps were run one after the other."""
    folder = tmp_path_factory.mktemp("made")
    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(folder, name, rule, epochs=1)
    for run, spec in PARTS.items():
        rb.sweep(spec, folder / run, workspace=folder)
        rb.sweep(spec, folder / "whole", workspace=folder)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the first run, to be changed."""
    shutil.copytree(made / "one", tmp_path / "copy")
    return tmp_path / "copy"


def results_csv(run):
    results = rb.open_results(run)
    return results.frame().to_csv(index=False).encode(), results.summary().to_csv(index=False).encode()


def files(run, folder, pattern="*"):
    return {path.name: path.read_bytes() for path in (run / folder).glob(pattern)}


def conflicts(*runs, out):
    lines = Lines()
    with pytest.raises(MergeConflicts) as caught:
        merge_runs(runs, out, lines)
    assert not out.exists()
    assert [line.removeprefix("conflict: ") for line in lines.lines] == list(caught.value.conflicts)
    assert list(out.parent.glob(".robustbench*")) == []
    return caught.value.conflicts


def test_a_merged_run_is_to_the_byte_what_one_run_would_have_given(made, tmp_path):
    merged = rb.merge([made / "one", made / "two"], tmp_path / "merged")
    assert results_csv(tmp_path / "merged") == results_csv(made / "whole")
    assert (merged.models, merged.outcomes) == (2, len(open_run(made / "whole")[0].cells) + 2)
    ours, theirs = ({path.name for path in (run / "adversarial").iterdir()} for run in (merged.run, made / "whole"))
    assert ours == theirs
    for name in ours:
        images, whole = (rb.load_adversarial(run / "adversarial" / name) for run in (merged.run, made / "whole"))
        assert images.epsilons == whole.epsilons
        assert torch.equal(images.images, whole.images)
    # The weights are the first run's, with its facts: how long the trainings took differs.
    assert files(merged.run, "checkpoints") == files(made / "one", "checkpoints")
    assert files(merged.run, "logs") == files(made / "one", "logs")
    with CountCalls() as count:
        for spec in PARTS.values():
            rb.sweep(spec, merged.run, workspace=made)
    assert count.calls == 0
    assert rb.status(merged.run).missing == ()


def test_merging_a_run_with_itself_gives_it_again(made, tmp_path):
    for times in (1, 3):
        out = tmp_path / str(times)
        rb.merge([made / "whole"] * times, out)
        with reading(out) as merged, reading(made / "whole") as before:
            assert merged.models() == before.models()
            assert merged.commands() == before.commands()
            assert len(merged.everything().sweeps) == len(before.everything().sweeps) == 2
        assert results_csv(out) == results_csv(made / "whole")
        assert files(out, "checkpoints") == files(made / "whole", "checkpoints")


def test_a_model_that_failed_in_one_run_and_was_trained_in_another_is_there(made, copy, tmp_path):
    with writing(copy) as store:
        (first, *_) = store.models().values()
        store.add_model(failed(first, "no memory"))
    (copy / "checkpoints" / f"{first.key}.safetensors").unlink()
    for runs in ((copy, made / "two"), (made / "two", copy)):
        out = tmp_path / f"out-{runs[0].name}"
        rb.merge(runs, out)
        with reading(out) as store:
            assert store.models()[first.key].status == "trained"
        assert (out / "checkpoints" / f"{first.key}.safetensors").exists()


def failed(record, cause, **metrics):
    return replace(record, status="failed", error=cause, metrics=metrics)


def test_weights_that_one_run_has_lost_come_from_the_other(made, copy, tmp_path):
    for path in (copy / "checkpoints").iterdir():
        path.unlink()
    rb.merge([copy, made / "two"], tmp_path / "out")
    assert files(tmp_path / "out", "checkpoints") == files(made / "two", "checkpoints")


def test_other_predictions_of_one_key_are_told_one_by_one(made, copy, tmp_path):
    with writing(copy) as store:
        (images,) = store.everything().image_sets
        changed = [(key, classes) for key, classes in store.predictions(images) if key.epsilon == 0.2][:2]
        store.add_outcomes(images, {key: (classes + 1) % 10 for key, classes in changed})
    first, second = conflicts(made / "two", copy, out=tmp_path / "out")
    assert first == (
        "digits: what quick_bp seed 0 predicts for fgsm on quick_bp seed 0 at epsilon 0.2 is another "
        f"in {copy} than in {made / 'two'}"
    )
    assert "quick_ekdaa seed 0 predicts" in second


def test_another_set_of_images_another_card_and_another_attack_are_told(made, tmp_path):
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "fgsm.toml").write_text(
        'kind = "attack"\nname = "fgsm"\nsteps = 2\nstep_size = "epsilon"\n'
    )
    write_card(tmp_path, "quick_bp", "backprop", epochs=2)
    other = SPEC.model_copy(update={"models": ("quick_bp",), "images": 30, "save_images": False})
    rb.sweep(other, tmp_path / "other", workspace=tmp_path)
    there = f"in {tmp_path / 'other'} than in {made / 'one'}"
    assert conflicts(made / "one", tmp_path / "other", out=tmp_path / "out") == (
        f"digits: the images is another {there} (30 images, not 20)",
        f"digits: the attack fgsm is another {there} (steps: 2, not 1)",
        f"digits: the model quick_bp seed 0 is another {there} (recipe.epochs: 2, not 1)",
    )


def test_other_data_under_one_name_are_told_and_nothing_of_them(made, copy, tmp_path):
    with reading(copy) as store:
        found = store.everything()
    (data,), (images,), (sweep,) = found.data.values(), found.image_sets.values(), found.sweeps
    with writing(tmp_path / "other") as store:
        other = replace(images, key="b" * 16, fingerprint="f" * 64)
        attacks = [found.attacks[key] for key in sweep.roles.attacks]
        store.add_sweep(replace(data, fingerprint="f" * 64), other, attacks, sweep.spec, sweep.roles, None)
    (line,) = conflicts(copy, tmp_path / "other", out=tmp_path / "out")
    assert line == f"digits: the data set is another in {tmp_path / 'other'} than in {copy} (its content)"


def test_other_weights_of_one_key_and_a_training_that_diverged_in_one_are_told(made, copy, tmp_path):
    with reading(made / "two") as theirs, reading(made / "one") as ours:
        record = next(iter(ours.models().values()))
        assert theirs.models()[record.key].metrics["digest"] != record.metrics["digest"]  # other seconds, same weights
    with writing(copy) as store:
        store.add_model(failed(record, "diverged", diverged=True))
    assert (
        "its training, which diverged in one of them, is another"
        in conflicts(copy, made / "two", out=tmp_path / "out")[0]
    )
    write_card(tmp_path, "quick_bp", "backprop", epochs=1, rate=0.06)
    other = rb.train("quick_bp", "digits", 0, tmp_path / "third", workspace=tmp_path)
    path = copy / "checkpoints" / f"{record.key}.safetensors"
    with writing(copy) as store:
        foreign = {**record.metrics, "digest": other.metrics["digest"]}
        store.add_model(replace(record, metrics=foreign))
    shutil.copyfile(tmp_path / "third" / "checkpoints" / f"{other.key}.safetensors", path)
    assert (
        "quick_bp on digits, seed 0: what its training gave is another"
        in conflicts(made / "two", copy, out=tmp_path / "out")[0]
    )


def test_other_saved_images_of_one_name_are_told(made, copy, tmp_path):
    path = next((copy / "adversarial").glob("noise*"))
    found = rb.load_adversarial(path)
    facts = {name: fact for name, fact in found.facts.items() if name != "digest"}
    save_adversarial(path, replace(found, images=found.images.flip(1), facts=facts))
    lines = conflicts(made / "one", copy, out=tmp_path / "out")
    assert len(lines) == 2  # at both epsilons
    assert lines[0].startswith(f"{path.name}: what its images at epsilon 0.1 are is another")


@pytest.mark.parametrize("part", ["checkpoints", "logs", "adversarial"])
def test_a_damaged_file_is_told_and_nothing_is_written(made, copy, tmp_path, part):
    path = sorted((copy / part).iterdir())[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=path.stem):
        merge_runs([copy], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("part", "what"), [("checkpoints", "checkpoint"), ("logs", "log")])
def test_a_whole_file_that_the_store_does_not_speak_of_is_told(made, copy, tmp_path, part, what):
    for path in (copy / part).iterdir():  # of the same weights, but of another training, which took another time
        shutil.copyfile(made / "two" / part / path.name, path)
    with pytest.raises(UsageError, match=f"is not the {what} that results.sqlite speaks of"):
        merge_runs([copy], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_already_a_run_that_is_not_there_and_none_are_refused(made, tmp_path):
    (tmp_path / "there").mkdir()
    for out, message in (("there", "is there already"), ("there/../there", "is there already")):
        with pytest.raises(UsageError, match=message):
            rb.merge([made / "one"], tmp_path / out)
    with pytest.raises(UsageError, match="lies in the run folder"):
        rb.merge([made / "one"], made / "one" / "merged")
    with pytest.raises(UsageError, match="no results here"):
        rb.merge([made / "one", tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(UsageError, match="name the runs"):
        rb.merge([], tmp_path / "out")
    with pytest.raises(UsageError, match="runs: must be a list"):
        rb.merge(str(made / "one"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_of_the_first_release_are_merged_too(released, made, tmp_path):
    rb.merge([released], tmp_path / "alone")
    assert results_csv(tmp_path / "alone") == results_csv(released)
    rb.merge([released, released], tmp_path / "twice")
    assert results_csv(tmp_path / "twice") == results_csv(released)
