"""`status`: what it prints, as text and as JSON."""

import json

import robustbench_ekdaa as rb


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
