"""An attack that raises costs its own outcomes and nothing else, and leaves its cause."""

import shutil

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.scoring.status import CraftingStatus, run_status
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run

from ..support.failing_attacks import write_attack
from ..support.kept_lines import Lines
from ..support.quick_models import write_card
from ..support.stored_runs import facts as outcomes_of


@pytest.fixture
def place(tmp_path):
    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(tmp_path, name, rule, epochs=1)
    write_attack(tmp_path)
    return tmp_path


@pytest.fixture
def attacked(spec):
    return spec.model_copy(update={"attacks": ("fgsm", "mine", "noise"), "seeds": 1})


def sweep(place, spec, run="run", **how):
    return run_sweep(spec, place / run, workspace=Workspace(place), **how)


def rows(run):
    """All of a run's table as text, crafting times aside."""
    frame = rb.open_results(run).frame().drop(columns="seconds", errors="ignore")
    return [tuple(map(str, row)) for row in frame.itertuples(index=False)]


CAUSES = {
    "error": "IndexError: my mistake",
    "memory": "RuntimeError: ",
    "exit": "SystemExit: 3",
    "unprintable": "Unprintable",
    "shape": "RuntimeError: ",
    "nan": "NaN or infinite",
}


@pytest.mark.parametrize("what", CAUSES)
def test_an_attack_that_raises_costs_its_own_outcomes_alone_until_the_same_sweep_crafts_it(
    place, attacked, monkeypatch, what
):
    sweep(place, attacked, "whole")
    monkeypatch.setenv("RAISES", what)
    lines = Lines()
    done = sweep(place, attacked, progress=lines)
    assert done.failed == []
    assert [*done.failed_craftings] == [("digits", "mine on quick_bp seed 0"), ("digits", "mine on quick_ekdaa seed 0")]
    assert all(CAUSES[what] in cause for cause in done.failed_craftings.values()), done.failed_craftings
    cause = done.failed_craftings["digits", "mine on quick_bp seed 0"]
    assert f"failed: mine on quick_bp seed 0: {cause}" in lines.lines
    (partly,) = open_run(place / "run")
    assert rows(place / "run") == [row for row in rows(place / "whole") if "mine" not in row]
    assert {partly.attacks[one.attack].name for one in partly.craftings} == {"fgsm", "noise"}
    assert {partly.attacks[one.attack].name for one in partly.cells.craftings} == {"fgsm", "noise"}
    monkeypatch.delenv("RAISES")
    assert not sweep(place, attacked).failed_craftings
    assert outcomes_of(place / "run") == outcomes_of(place / "whole")
    assert run_status(place / "run").craftings == ()


def test_a_failed_crafting_is_told_with_its_cause_by_status_and_not_missing(place, attacked, monkeypatch):
    monkeypatch.setenv("RAISES", "error")
    sweep(place, attacked)
    status = run_status(place / "run")
    told = {one.attack: (one.stored, one.failed, one.missing) for one in status.attacks}
    assert told == {None: (2, 0, 0), "fgsm": (8, 0, 0), "mine": (0, 8, 0), "noise": (4, 0, 0)}
    assert status.craftings == tuple(
        CraftingStatus("digits", "mine", f"{name} on digits, seed 0", (0.1, 0.2), "IndexError: my mistake")
        for name in ("quick_bp", "quick_ekdaa")
    )
    assert status.plain()["failed_craftings"][0]["cause"] == "IndexError: my mistake"


def test_what_was_crafted_before_stays_when_more_of_it_fails(place, attacked, monkeypatch):
    sweep(place, attacked.model_copy(update={"models": ("quick_bp",)}))
    before = open_run(place / "run")[0].craftings
    monkeypatch.setenv("RAISES", "error")
    sweep(place, attacked)
    (outcomes,) = open_run(place / "run")
    assert all(
        outcomes.craftings[key] == facts for key, facts in before.items() if outcomes.attacks[key.attack].name == "mine"
    )
    assert not any("failed" in one for one in outcomes.crafted_with)
    told = {one.attack: (one.stored, one.failed) for one in run_status(place / "run").attacks}
    assert told["mine"] == (2, 6)


def test_a_failed_crafting_is_in_a_merged_run_as_long_as_no_run_holds_it(place, attacked, monkeypatch):
    monkeypatch.setenv("RAISES", "error")
    sweep(place, attacked)
    shutil.copytree(place / "run", place / "second")
    rb.merge([place / "run", place / "second"], place / "both")
    assert {one.cause for one in run_status(place / "both").craftings} == {"IndexError: my mistake"}
    monkeypatch.delenv("RAISES")
    sweep(place, attacked, "second")
    for runs in (["run", "second"], ["second", "run"]):
        out = place / "-".join(runs)
        rb.merge([place / run for run in runs], out)
        assert run_status(out).craftings == ()
        assert {one.missing for one in run_status(out).attacks} == {0}


def test_a_crafting_that_fails_in_a_worker_process_costs_no_more(place, attacked, monkeypatch):
    monkeypatch.setenv("RAISES", "error")
    done = sweep(place, attacked, workers=2)
    assert len(done.failed_craftings) == 2
    assert done.crafted == 3
