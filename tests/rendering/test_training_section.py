"""The report tells how the models were trained, whatever is missing, and believes no word of a card."""

import re
import shutil
import sys
from dataclasses import replace

import pandas as pd
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.cards import SweepSpec, Workspace
from robustbench_ekdaa.cli import main
from robustbench_ekdaa.rendering import write_report
from robustbench_ekdaa.rendering.style import card_looks, looks
from robustbench_ekdaa.rendering.training_section import (
    shown_trainings,
    training_facts,
    training_looks,
    training_pictures,
)
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run, writing

from ..support.made_outcomes import make_outcomes
from ..support.pages import Page
from ..support.trained_run import EVIL, train, write_cards


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["robustbench-ekdaa", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@pytest.fixture(scope="module")
def unswept(trained, tmp_path_factory):
    """The page that the command writes of a run in which nothing was attacked."""
    page = tmp_path_factory.mktemp("report") / "report" / "index.html"
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, "report", trained / "run", "--out", page.parent) == 0
    return page


@pytest.fixture(scope="module")
def swept(trained, tmp_path_factory):
    """The page of the same run after a sweep of one card; all checkpoints and the user's rule are gone."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("swept") / "all")
    spec = SweepSpec(
        datasets=("digits",), models=("quick_frozen",), attacks=("fgsm",), epsilons=(0, 0.1), images=20, seeds=1
    )
    run_sweep(spec, folder / "run", workspace=Workspace(folder), device="cpu")
    (folder / "models" / "mine.py").unlink()
    shutil.rmtree(folder / "run" / "checkpoints")
    results, trainings = Results(open_run(folder / "run")), read_trainings(folder / "run")
    return write_report(results, folder / "report", trainings=trainings)


def facts(run):
    """What the page is told about the trainings on the digits, and the names of what is drawn."""
    trainings, nothing = read_trainings(run), Results([])
    shown, styles = shown_trainings(trainings, nothing)["digits"], training_looks(trainings, nothing)
    pictures = list(training_pictures(shown, "digits", styles))
    return training_facts(trainings, shown, "digits", styles, pictures), {one.stem for one in pictures}


def test_a_sweeps_report_tells_how_its_models_were_trained(swept):
    text = Page(swept).text
    assert text.count("How the models were trained") == 1
    assert "in no sweep, and not shown: quick_fa (2), quick_bp, quick_mine, wild." in text
    figures = {path.stem for path in (swept.parent / "figures").glob("*.png")}
    assert {stem for stem in figures if "training" in stem or "alignment" in stem} == {
        "digits-training",
        "digits-alignment-quick_frozen",
    }
    assert text.count("Same start") == 1


def test_a_run_without_a_sweep_has_a_page_of_its_trainings(unswept, trained):
    page = Page(unswept)
    assert "Models trained, not attacked yet" in page.text
    assert "White-box" not in page.text
    assert "Digits (8x8)" in page.text
    (bp,) = (one for one in read_trainings(trained / "run").models.values() if one.name == "quick_bp")
    assert f"{100 * bp.metrics['train_accuracy']:.1f} {100 * bp.metrics['test_accuracy']:.1f}" in page.text
    stems = {path.stem for path in (unswept.parent / "figures").glob("*.png")}
    cards = ("quick_bp", "quick_fa", "quick_frozen", "quick_mine")
    assert stems == {"digits-training", *(f"digits-alignment-{card}" for card in cards)}


def test_every_rule_has_its_exemptions_with_their_reasons(unswept):
    text = Page(unswept).text
    assert "frozen: beats frozen , because it is the frozen control" in text
    assert "frozen: every layer , because nothing below the readout learns" in text
    assert f"Mine: seeded , because {EVIL}" in text
    assert "fa, backprop: none" in text


@pytest.mark.parametrize("which", ["swept", "unswept"])
def test_links_lead_somewhere_and_every_word_is_escaped(which, request):
    path = request.getfixturevalue(which)
    page = Page(path)
    for link in page.links:
        assert link[1:] in page.anchors if link.startswith("#") else (path.parent / link).is_file(), link
    assert not {"script", "iframe", "link", "object", "i"} & set(page.tags)
    assert not re.search("<script|<i>", path.read_text())
    assert all(page.alts)


def test_a_failed_training_is_told_with_its_reason(unswept):
    assert "<i>wild</i> & $x_{, seed 0: wild (seed 0) diverged in epoch 1" in Page(unswept).text


def test_the_tables_hold_every_epoch_and_layer_of_the_run(unswept, trained):
    trainings = read_trainings(trained / "run")
    for name, frame in (("training", trainings.epochs), ("alignment", trainings.layers)):
        table = pd.read_csv(unswept.parent / "tables" / f"{name}.csv")
        assert list(table.columns) == list(frame.columns)
        assert len(table) == len(frame) > 0


@pytest.mark.parametrize("hurt", ["one missing", "one damaged", "all missing"])
def test_a_missing_or_damaged_log_is_a_caveat(trained, tmp_path, hurt):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    logs = {record.name: run / "logs" / f"{key}.jsonl" for key, record in read_trainings(run).models.items()}
    if hurt == "one damaged":
        logs["quick_bp"].write_text(logs["quick_bp"].read_text()[:-30])
    elif hurt == "one missing":
        logs["quick_bp"].unlink()
    else:
        shutil.rmtree(run / "logs")
    told, stems = facts(run)
    (caveat,) = told["caveats"]
    assert f"QUICK_BP (seed 0, logs/{logs['quick_bp'].name})" in caveat
    assert "digits-alignment-quick_bp" not in stems
    assert ("digits-training" in stems) == (hurt != "all missing")
    if hurt == "all missing":
        text = Page(write_report(Results([]), tmp_path / "report", trainings=read_trainings(run))).text
        assert "their logs are missing or damaged: QUICK_FA (seed 0" in text


def test_trainings_that_held_images_out_say_so_and_give_way_to_others(tmp_path):
    workspace, run = write_cards(tmp_path), tmp_path / "run"
    train(workspace, run, ["quick_bp"], held_out=0.2)
    told, _ = facts(run)
    (record,) = read_trainings(run).models.values()
    assert told["held_out"]
    assert told["rows"][0]["accuracy"] == f"{100 * record.metrics['held_out_accuracy']:.1f}"
    train(workspace, run, ["quick_bp"])
    told, _ = facts(run)
    assert not told["held_out"]
    assert told["notes"] == ["Held images out, to choose a recipe, and not shown: quick_bp."]


def test_a_card_keeps_the_colour_it_has_in_the_sweeps_figures(trained):
    right = [0, 1]
    swept = Results([make_outcomes([("a", 0), ("b", 0)], right, {"a0": right, "b0": right}, {})])
    trainings = read_trainings(trained / "run")
    # Backprop has a colour of its own, which another card has where backprop is not.
    models = {key: replace(record, name="backprop") for key, record in trainings.models.items()}
    drawn = training_looks(replace(trainings, models=models), swept)
    assert {name: drawn[name] for name in ("a", "b")} == looks(swept)
    assert "backprop" in drawn


def test_a_run_that_holds_nothing_is_refused_and_nothing_is_written(trained, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with writing(run):
        pass
    assert command(monkeypatch, "report", run, "--out", tmp_path / "report") == 2
    assert "nothing was trained here yet" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_failed_training_does_not_hide_what_the_others_recorded(trained):
    trainings = read_trainings(trained / "run")
    record = next(one for one in trainings.models.values() if one.name == "quick_mine")
    failed = replace(record, key="f", seed=9, status="failed", metrics={})
    shown = replace(trainings, models={record.key: record, "f": failed})
    facts = training_facts(trainings, shown, "digits", card_looks(list(shown.models.values())), [])
    assert record.rule not in facts["unknown"]
