"""Images from files: scored as if they had been crafted here, once, and never mistaken for something they are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from robustbench_ekdaa.analysis.caveats import caveats
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import load_adversarial
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.learning import TrainingJob, load_network
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.rendering import write_report
from robustbench_ekdaa.scoring import imported
from robustbench_ekdaa.scoring.imported import ImportSpec, ScoreFile, score_images
from robustbench_ekdaa.scoring.jobs import Checkpoints
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.keys import IMPORTED
from robustbench_ekdaa.storing.store import open_run

from ..support.forward_passes import CountCalls
from ..support.kept_lines import Lines
from ..support.quick_models import write_card

MODELS = ("quick_bp", "quick_ekdaa")


@pytest.fixture
def swept(tmp_path, workspace, spec):
    """A run with saved images of 40 test images."""
    attacks = {"attacks": ("fgsm", "ens_fgsm", "noise"), "images": 40, "save_images": True}
    run_sweep(spec.model_copy(update=attacks), tmp_path / "run", workspace=workspace)
    return tmp_path / "run"


def shaken(path, indices, size=0.1, **fields):
    """Write test images whose every pixel is moved by `size`, up or down."""
    images = load_dataset("digits").test.images[indices]
    moved = images + size * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).sign()
    np.savez(path, images=moved.clamp(0, 1).numpy(), indices=indices, epsilon=size, norm="linf", **fields)
    return ImportSpec(file=path, dataset="digits", models=MODELS, seeds=2)


def test_saved_images_scored_again_give_the_sweeps_outcomes_and_know_whom_they_were_crafted_on(swept, workspace):
    summary = Results(open_run(swept)).summary()
    for path in sorted((swept / "adversarial").iterdir()):
        score_images(
            ImportSpec(file=path, dataset="digits", models=MODELS, seeds=2, name=f"again-{path.stem}"),
            swept,
            workspace=workspace,
        )
    (outcomes,) = open_run(swept)
    cells = {
        (cell.surrogate, outcomes.attacks[cell.attack].name, cell.epsilon, cell.target): cell for cell in outcomes.cells
    }
    assert len(cells) == 2 * (4 + 2 + 1) * 2 * 4  # swept and imported, surrogates, epsilons, targets
    for (surrogate, name, epsilon, target), cell in cells.items():
        if name.startswith("again-"):
            swept_name = name.removeprefix("again-").split("-")[0]
            assert (cell.predictions == cells[surrogate, swept_name, epsilon, target].predictions).all()
    rows = Results([outcomes]).frame()
    rows["imported"] = rows["attack"].str.startswith("again")
    counts = rows.groupby(["imported", "relation"]).size()
    assert counts[True].to_dict() == counts[False].to_dict()
    assert Results([outcomes]).summary().equals(summary)  # in no worst case
    curves = Results([outcomes]).curves()
    drawn = curves[curves["attack"].str.startswith("again-fgsm-on-quick_bp-seed0")]
    assert set(zip(drawn["model"], drawn["seed"], strict=True)) == {("quick_bp", 1), ("quick_ekdaa", 1)}
    found = caveats(outcomes)
    assert "in no worst case" in found[-1]
    assert not any("missing" in sentence for sentence in found)


def test_the_same_images_scored_again_under_whatever_name_ask_no_model(swept, workspace, tmp_path):
    spec = shaken(tmp_path / "mine.npz", load_dataset("digits").test.labels.argsort()[:30])
    score_images(spec, swept, workspace=workspace)
    np.savez(tmp_path / "copy.npz", **np.load(tmp_path / "mine.npz"))
    for again in (spec, replace(spec, name="other"), replace(spec, file=tmp_path / "copy.npz")):
        with CountCalls() as count:
            assert score_images(again, swept, workspace=workspace).crafted == 0
        assert count.calls == 0
    assert "copy" in set(Results(open_run(swept)).frame()["attack"])


def test_images_made_elsewhere_are_told_apart_and_counted_as_the_models_say(swept, workspace, tmp_path):
    (before,) = open_run(swept)
    everything = torch.arange(len(load_dataset("digits").test))
    lines = Lines()
    score_images(shaken(tmp_path / "mine.npz", everything), swept, workspace=workspace, progress=lines)
    assert "40 of the file's 500 images are the sweep's" in lines.lines[0]
    (outcomes,) = open_run(swept)
    digits, found = load_dataset("digits"), load_adversarial(tmp_path / "mine.npz")
    mine = [cell for cell in outcomes.cells if cell.surrogate == IMPORTED]
    assert len(mine) == 4
    for cell in mine:
        model = outcomes.models[cell.target]
        job = TrainingJob(workspace.models[model.name], "digits", digits.fingerprint, model.seed)
        predictions = load_network(job, digits, swept)(found.images[0, outcomes.indices]).argmax(1).numpy()
        assert np.mean(predictions != cell.predictions) <= 1 / 40  # float rounding may turn a tie
    rows = Results([outcomes]).frame().query("attack == 'mine'")
    assert set(rows["relation"]) == {"unknown"}
    assert set(rows["surrogate"]) == {"imported"}
    assert rows["surrogate_seed"].isna().all()
    assert Results([outcomes]).summary().equals(Results([before]).summary())
    assert outcomes.spec == before.spec
    curves = Results([outcomes]).curves().query("attack == 'mine'")
    assert len(curves) == 2 * 4  # epsilon 0 and 0.1, targets


def test_images_that_the_sweep_did_not_use_get_a_table_of_their_own(swept, workspace, tmp_path):
    score_images(shaken(tmp_path / "mine.npz", torch.arange(30)), swept, workspace=workspace)
    whole, aside = open_run(swept)
    assert (whole.dataset, len(whole.labels)) == ("digits", 40)
    assert (aside.dataset, len(aside.labels)) == ("digits (mine)", 30)
    assert aside.labels.tolist() == load_dataset("digits").test.labels[:30].tolist()
    assert {cell.surrogate for cell in whole.cells if cell.surrogate} == {*whole.surrogates, *whole.ensembles}
    frame = Results([whole, aside]).frame()
    assert set(frame.query("dataset == 'digits (mine)'")["n_images"]) == {30}


def test_without_a_sweep_models_are_trained_and_the_file_alone_is_the_table(workspace, tmp_path):
    summary = score_images(shaken(tmp_path / "mine.npz", torch.arange(30)), tmp_path / "new", workspace=workspace)
    assert (summary.trained, summary.crafted, summary.failed) == (4, 4, [])
    (outcomes,) = open_run(tmp_path / "new")
    assert (outcomes.dataset, outcomes.epsilons) == ("digits", (0.0, 0.1))
    assert len(Results([outcomes]).frame()) == 4 * 2
    assert Results([outcomes]).summary()["clean_accuracy"].notna().all()


def test_some_of_the_images_are_kept_to_be_shown_and_none_that_are_clean(workspace, tmp_path):
    indices = list(range(12))
    clean = load_dataset("digits").test.images[indices]
    both = torch.stack([clean, (clean + 0.1).clamp(0, 1)]).numpy()
    np.savez(tmp_path / "both.npz", images=both, indices=indices, epsilons=[0.0, 0.1], norm="linf")
    spec = ImportSpec(file=tmp_path / "both.npz", dataset="digits", models=MODELS, seeds=1)
    score_images(spec, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    (example,) = outcomes.examples
    assert example.epsilon == 0.1
    assert all(any(np.array_equal(kept, moved) for moved in both[1]) for kept in example.images)


@pytest.mark.parametrize("seeds", [0, -1])
def test_at_least_one_seed_is_asked_for(seeds):
    with pytest.raises(UsageError, match="seeds"):
        ImportSpec(file="x.npz", dataset="digits", models=MODELS, seeds=seeds)


def test_a_file_is_read_once_however_many_models_are_asked_and_anew_when_it_changes(workspace, tmp_path, monkeypatch):
    reads = []

    def counted(path, **options):
        reads.append(path)
        return load_adversarial(path, **options)

    monkeypatch.setattr(imported, "load_adversarial", counted)
    mine = shaken(tmp_path / "mine.npz", torch.arange(30))
    assert score_images(mine, tmp_path / "run", workspace=workspace).crafted == 4
    assert len(reads) == 1
    mine = shaken(tmp_path / "mine.npz", torch.arange(30), size=0.3)
    assert score_images(mine, tmp_path / "run", workspace=workspace).crafted == 4
    assert len(reads) == 2
    assert set(Results(open_run(tmp_path / "run")).frame()["epsilon"]) == {0.0, 0.3}


def test_images_are_scored_on_the_data_they_were_checked_against_only(workspace, tmp_path):
    score_images(shaken(tmp_path / "mine.npz", torch.arange(5)), tmp_path / "run", workspace=workspace)
    changed = TrainingJob(workspace.models["quick_bp"], "digits", "another fingerprint", 0)
    spec = ImportSpec(file=tmp_path / "mine.npz", dataset="digits", models=MODELS)
    job = ScoreFile(changed, spec, spec.load()[1], torch.arange(5), (0.1,), Checkpoints(tmp_path / "run", {}), "cpu")
    with pytest.raises(WorkFailed, match="data set digits changed"):
        job(Silent())


def test_one_model_under_two_names_and_two_models_under_one_are_refused(workspace, tmp_path):
    mine = shaken(tmp_path / "mine.npz", torch.arange(5))
    write_card(tmp_path, "twin", "backprop")
    with pytest.raises(UsageError, match="models quick_bp and twin are the same model"):
        score_images(replace(mine, models=("quick_bp", "twin")), tmp_path / "new", workspace=Workspace(tmp_path))
    card = workspace.models["quick_bp"]
    write_card(tmp_path, "quick_bp", "backprop", rate=0.01)
    changed = Workspace(tmp_path).models["quick_bp"]
    with pytest.raises(UsageError, match="two different model cards have the name quick_bp"):
        score_images(replace(mine, models=(card, changed)), tmp_path / "new", workspace=workspace)
    assert not (tmp_path / "new").exists()
    again = replace(mine, models=(card, card), seeds=1)  # a model that is named twice is one
    assert score_images(again, tmp_path / "new", workspace=workspace).crafted == 1


def test_of_two_files_of_one_name_the_newer_counts(swept, workspace, tmp_path):
    score_images(shaken(tmp_path / "mine.npz", torch.arange(500)), swept, workspace=workspace)
    score_images(shaken(tmp_path / "mine.npz", torch.arange(500), size=0.3), swept, workspace=workspace)
    score_images(shaken(tmp_path / "part.npz", torch.arange(30)), swept, workspace=workspace)
    score_images(shaken(tmp_path / "part.npz", torch.arange(20)), swept, workspace=workspace)
    whole, aside = open_run(swept)
    assert {cell.epsilon for cell in whole.cells if cell.surrogate == IMPORTED} == {0.3}
    assert (aside.dataset, len(aside.labels)) == ("digits (part)", 20)


def test_a_file_scored_again_after_a_sweep_moves_into_its_table(workspace, tmp_path, spec):
    mine = shaken(tmp_path / "mine.npz", torch.arange(500))
    score_images(mine, tmp_path / "run", workspace=workspace)
    run_sweep(spec.model_copy(update={"attacks": ("fgsm",), "images": 20}), tmp_path / "run", workspace=workspace)
    assert [len(one.labels) for one in open_run(tmp_path / "run")] == [20, 500]
    score_images(mine, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    assert {record.name for record in outcomes.attacks.values()} == {"fgsm", "mine"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "fgsm"}, "an attack card has that name"),
        ({"name": "strong"}, "an attack card has that name"),
        ({"name": "a b"}, "cannot give an attack the name 'a b'"),
        ({"norm": "l2"}, "the file says linf, the request l2"),
        ({"epsilons": (0.05,)}, "the file and the request differ"),
        ({"models": ("quick_pb",)}, "Did you mean quick_bp"),
        ({"models": ()}, "there is nobody to score"),
        ({"dataset": "digit"}, "Did you mean digits"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(workspace, tmp_path, changes, message):
    spec = replace(shaken(tmp_path / "mine.npz", torch.arange(5)), **changes)
    with pytest.raises(UsageError) as caught:
        score_images(spec, tmp_path / "new", workspace=workspace)
    assert message in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_model_that_cannot_be_trained_is_refused_and_does_not_hide_the_results_there_are(workspace, tmp_path):
    mine = shaken(tmp_path / "mine.npz", torch.arange(5))
    score_images(mine, tmp_path / "run", workspace=workspace)
    (before,) = open_run(tmp_path / "run")
    write_card(tmp_path, "typo", "backprop", more='optimizer = "SDG"')
    typo = replace(mine, models=("typo",), name="other")
    for run in ("run", "new"):
        with pytest.raises(UsageError, match=r"typo\.toml: training.*SDG"):
            score_images(typo, tmp_path / run, workspace=Workspace(tmp_path))
    (after,) = open_run(tmp_path / "run")
    assert (after.dataset, after.spec, list(after.attacks)) == (before.dataset, before.spec, list(before.attacks))
    assert not (tmp_path / "new").exists()


def test_images_outside_their_ball_are_refused_before_anything_is_written(workspace, tmp_path):
    shaken(tmp_path / "mine.npz", torch.arange(5))
    arrays = {**np.load(tmp_path / "mine.npz"), "epsilon": 0.09}
    np.savez(tmp_path / "false.npz", **arrays)
    with pytest.raises(UsageError, match=r"false\.npz: images: 5 of 5 leave the linf ball of epsilon 0\.09"):
        score_images(
            ImportSpec(file=tmp_path / "false.npz", dataset="digits", models=MODELS),
            tmp_path / "new",
            workspace=workspace,
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_report_tells_beside_a_table_of_imported_images_how_their_models_were_trained(swept, workspace, tmp_path):
    score_images(shaken(tmp_path / "mine.npz", np.arange(7)), swept, workspace=workspace)
    results = Results(open_run(swept))
    assert results.datasets == ["digits", "digits (mine)"]
    page = write_report(results, tmp_path / "report", trainings=read_trainings(swept)).read_text(encoding="utf-8")
    assert page.count("<h3>How the models were trained</h3>") == 1


def test_images_crafted_on_models_whose_cards_changed_since_stay_what_they_are(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"attacks": ("ens_fgsm",), "epsilons": (0.0, 0.2), "seeds": 1, "save_images": True})
    run = tmp_path / "run"
    run_sweep(spec, run, workspace=workspace)
    (file,) = (run / "adversarial").glob("*.safetensors")
    score_images(ImportSpec(file=file, dataset="digits", models=MODELS, seeds=1, name="kept"), run, workspace=workspace)
    (before,) = open_run(run)
    write_card(tmp_path, "quick_bp", "backprop", rate=0.01)
    run_sweep(spec, run, workspace=Workspace(tmp_path))
    (after,) = open_run(run)
    (key,) = [key for key, record in after.attacks.items() if record.imported]
    (crafted_on,) = {cell.surrogate for cell in after.cells if cell.attack == key}
    assert after.ensembles[crafted_on] == before.ensembles[crafted_on]
    assert len(Results([after]).frame().query("attack == 'kept'")) == 2  # of quick_ekdaa, which is what it was
