"""`status`: what it prints, as text and as JSON."""

import json

import robustbench_ekdaa as rb

from ..support.failing_attacks import write_attack


def test_status_prints_how_far_a_run_is_as_text_and_as_json(ran, tmp_path):
    code, printed, error = ran("status runs/a")
    assert (code, error) == (0, "")
    assert printed.startswith("At work: nobody.\nModels: 4 trained, 0 failed, 0 missing.\n")
    assert "(clean images)" in printed
    (tmp_path / "runs" / "a" / "checkpoints").rename(tmp_path / "away")
    code, printed, _ = ran("status runs/a")
    assert code == 0
    assert "missing: quick_bp on digits, seed 0: its checkpoint is gone" in printed
    code, printed, _ = ran("status runs/a --json")
    assert json.loads(printed) == rb.status("runs/a").plain()
    code, printed, error = ran("status runs/b")
    assert (code, printed) == (2, "")
    assert "no results here" in error


def test_a_sweep_with_a_crafting_that_fails_ends_with_its_cause_and_status_tells_it(ran, tmp_path, monkeypatch):
    write_attack(tmp_path)
    monkeypatch.setenv("RAISES", "error")
    command = "sweep --dataset digits --models quick_bp --seeds 1 --images 9 --attacks mine --epsilons 0.1 --run runs/c"
    code, _, error = ran(command)
    assert code == 1
    assert error.splitlines()[-2:] == [
        "failed: mine on quick_bp seed 0 (digits): IndexError: my mistake",
        "What failed is crafted again by the same command.",
    ]
    code, printed, _ = ran("status runs/c")
    assert code == 0
    assert "failed: mine on quick_bp on digits, seed 0: IndexError: my mistake" in printed
    monkeypatch.delenv("RAISES")
    assert ran(command)[0] == 0
    assert "failed:" not in ran("status runs/c")[1]
