"""Epochs of one training as models of a sweep: trained once, scored by name, and kin to each other."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.analysis.transfer import transfer_grids
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering.style import looks
from robustbench_ekdaa.storing.outcomes import Ensemble

from ..support.four_images import LABELS, RIGHT, wrong_on
from ..support.kept_lines import Lines
from ..support.made_outcomes import make_outcomes
from ..support.quick_models import write_card

SPEC = {"datasets": ["digits"], "attacks": ["fgsm"], "epsilons": [0.1], "seeds": 2, "images": 30}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of a model and its first epoch, and of another model, with all epochs kept."""
    folder = tmp_path_factory.mktemp("epochs")
    write_card(folder, "quick_bp", "backprop")
    write_card(folder, "quick_fa", "fa")
    workspace, run = Workspace(folder), folder / "run"
    spec = rb.SweepSpec(models=["quick_bp", "quick_bp#1", "quick_fa"], keep_epochs="all", **SPEC)
    lines = Lines()
    return workspace, run, rb.sweep(spec, run, workspace=workspace, progress=lines), lines


def test_an_epoch_is_surrogate_and_target_like_any_other_model(swept):
    frame = swept[2].frame()
    assert set(frame["target"]) == set(frame["surrogate"]) == {"quick_bp", "quick_bp#1", "quick_fa"}
    assert list(frame.columns[-2:]) == ["surrogate_epoch", "target_epoch"]
    assert set(frame[frame["target"] == "quick_bp#1"]["target_epoch"]) == {1}
    assert set(frame[frame["surrogate"] == "quick_fa"]["surrogate_epoch"]) == {2}


def test_epochs_of_one_training_are_trained_together(swept):
    _, run, _, lines = swept
    assert "6 models (0 trained already)" in lines.lines[0]
    assert "to do: 4 trainings" in lines.lines[0]
    records = read_trainings(run).models.values()
    assert sorted((record.name, record.seed) for record in records) == [
        (name, seed) for name in ("quick_bp", "quick_bp#1", "quick_fa", "quick_fa#1") for seed in (0, 1)
    ]


def test_a_kept_epoch_is_loaded_by_its_number_or_its_name(swept):
    workspace, run, _, _ = swept
    means = {"run": run, "workspace": workspace}
    states = [
        rb.load_model("quick_fa", "digits", 1, **means, epoch=1).state_dict(),
        rb.load_model("quick_fa#1", "digits", 1, **means).state_dict(),
        rb.load_model("quick_fa", "digits", 1, **means, epoch=2).state_dict(),
        rb.load_model("quick_fa", "digits", 1, **means).state_dict(),
    ]
    different = [name for name in states[0] if not np.array_equal(states[1][name], states[2][name])]
    assert different
    for one, other in ((0, 1), (2, 3)):
        assert all(np.array_equal(states[one][name], states[other][name]) for name in states[0])
    for wrong, message in ((3, "only 2 epochs"), (0, "a whole number from 1"), (True, "a whole number from 1")):
        with pytest.raises(UsageError, match=message):
            rb.load_model("quick_fa", "digits", 1, **means, epoch=wrong)
    with pytest.raises(UsageError, match="says already after which epoch"):
        rb.load_model("quick_fa#1", "digits", 1, **means, epoch=1)


def test_epochs_of_one_training_are_of_the_same_training_and_in_no_mean(swept):
    frame = swept[2].frame()
    one = frame[(frame["surrogate"] == "quick_bp#1") & (frame["target"] == "quick_bp")]
    found = {(row["surrogate_seed"] == row["target_seed"]): row["relation"] for row in one.to_dict("records")}
    assert found == {True: "same-training", False: "same-rule"}
    (grid,) = transfer_grids(swept[2].outcomes[0])
    models = grid.outcomes.models
    for i, holder in enumerate(grid.holders):
        for j, target in enumerate(grid.targets):
            if models[holder].training == models[target].training:
                assert not grid.pairs.counted[i, j]


def test_a_report_shows_epochs_in_the_colour_of_their_card(swept, tmp_path):
    drawn = looks(swept[2])
    assert drawn["quick_bp#1"].colour == drawn["quick_bp"].colour != drawn["quick_fa"].colour
    assert drawn["quick_bp#1"].dashes != drawn["quick_bp"].dashes
    assert drawn["quick_bp#1"].label == "quick_bp, after epoch 1"
    page = rb.report(swept[1], tmp_path / "page").read_text()
    assert "quick_bp, after epoch 1" in page
    assert "Trained too, but in no sweep, and not shown: quick_fa#1 (2)." in page


def test_doing_it_again_trains_nothing_and_changes_nothing(swept):
    workspace, run, results, _ = swept
    spec = rb.SweepSpec(models=["quick_bp#2", "quick_bp#1", "quick_fa"], keep_epochs=1, **SPEC)
    lines = Lines()
    again = rb.sweep(spec, run, workspace=workspace, progress=lines)
    assert "to do: 0 trainings, 0 craftings, 0 cells" in lines.lines[0]
    assert again.frame().equals(results.frame())  # the second of two epochs is the model itself, under its name


def test_an_epoch_that_was_not_kept_is_trained_up_to_there(tmp_path):
    write_card(tmp_path, "quick_bp", "backprop", epochs=4)
    means = {"workspace": tmp_path, "device": "cpu"}
    run, kept = tmp_path / "run", tmp_path / "kept"
    rb.train("quick_bp", "digits", 0, run, **means)
    record = rb.train("quick_bp#3", "digits", 0, run, **means)
    assert (record.name, record.metrics["epochs"]) == ("quick_bp#3", 3)
    rb.train("quick_bp", "digits", 0, kept, keep_epochs=3, **means)
    assert len(list((kept / "checkpoints").iterdir())) == 2
    states = [
        rb.load_model("quick_bp", "digits", 0, at, epoch=3, workspace=tmp_path).state_dict() for at in (run, kept)
    ]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(UsageError, match="Train quick_bp#2 on digits, seed 0 first"):
        rb.load_model("quick_bp", "digits", 0, run, epoch=2, workspace=tmp_path)
    rb.report(run, tmp_path / "page")  # of a run that was only trained


def test_what_diverges_later_keeps_the_epochs_before(tmp_path):
    write_card(tmp_path, "wild", "wild.py:Wild")
    (tmp_path / "models" / "wild.py").write_text(
        "from robustbench_ekdaa.learning.rules.backprop import Backprop\n"
        "class Wild(Backprop):\n"
        "    steps = 0\n"
        "    def compute_gradients(self, images, labels):\n"
        "        self.steps += 1\n"
        "        step = super().compute_gradients(images, labels)\n"
        "        if self.steps > 35:\n"
        "            for parameter in self.network.parameters():\n"
        "                parameter.grad.fill_(float('nan'))\n"
        "        return step\n"
    )
    benchmark = rb.Benchmark(tmp_path / "run", workspace=tmp_path, device="cpu")
    records = benchmark.train(["wild"], "digits", [0], keep_epochs="all", keep_going=True)
    assert [(record.name, record.status) for record in records] == [("wild", "failed"), ("wild#1", "trained")]


def test_runs_without_epochs_have_the_columns_and_the_facts_of_before(tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")
    spec = rb.SweepSpec(models=["quick_bp"], **{**SPEC, "seeds": 1})
    results = rb.sweep(spec, tmp_path / "run", workspace=tmp_path)
    assert results.frame().columns[-1] == "relation"
    with sqlite3.connect(tmp_path / "run" / "results.sqlite") as store:
        text = json.dumps([list(map(str, row)) for row in store.iterdump()])
    assert "epoch_of" not in text
    assert "keep_epochs" not in text


def made(predictions, models, ensembles=None):
    """Return outcomes in which "b" is an earlier epoch of "a"."""
    keys = [f"{name}{seed}" for name, seed in models]
    outcomes = make_outcomes(models, LABELS, dict.fromkeys(keys, RIGHT), predictions)
    records = {
        key: replace(record, metrics={**record.metrics, "epoch_of": f"a{record.seed}"})
        if record.name == "b"
        else record
        for key, record in outcomes.models.items()
    }
    return replace(outcomes, models=records, ensembles=ensembles or {})


def test_a_target_is_not_made_weak_by_attacks_on_its_own_training():
    models = [("a", 0), ("b", 0), ("c", 1)]
    cells = {(s, t, "fgsm", 0.1): RIGHT for s in ("a0", "b0", "c1") for t in ("a0", "b0", "c1")}
    cells |= {("b0", "a0", "fgsm", 0.1): wrong_on(0, 1, 2, 3), ("c1", "a0", "fgsm", 0.1): wrong_on(0)}
    outcomes = made(cells, models)
    assert outcomes.relation("b0", "a0") == outcomes.relation("a0", "b0") == "same-training"
    summary = Results([outcomes]).summary().set_index("model")
    assert summary["transfer_accuracy"]["a"] == 0.75  # by c alone
    assert "not attacked from" not in summary["note"]["a"]


def test_an_ensemble_with_another_epoch_of_the_target_is_of_the_same_training():
    models = [("a", 0), ("b", 0), ("c", 0)]
    outcomes = made({("a0", "a0", "fgsm", 0.1): RIGHT}, models)
    ensemble = Ensemble.of("e", [outcomes.models["b0"], outcomes.models["c0"]])
    outcomes = replace(outcomes, ensembles={"e": ensemble})
    assert outcomes.relation("e", "a0") == "same-training"
    assert outcomes.relation("e", "c0") == "white-box"
