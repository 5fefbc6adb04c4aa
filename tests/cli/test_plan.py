"""`sweep --plan`: what it prints, as text and as JSON, and that it makes nothing."""

import json

from ..support.command_line import SWEEP


def test_a_plan_is_printed_as_text_and_as_json_and_nothing_is_made(ran, tmp_path):
    code, printed, error = ran(f"{SWEEP} --run runs/b --workers 1 --plan")
    assert (code, error) == (0, "")
    assert "To do: 4 trainings, 4 clean passes, 5 craftings." in printed
    assert "of one core" in printed
    assert not (tmp_path / "runs" / "b").exists()
    code, printed, _ = ran(f"{SWEEP} --run runs/a --workers 1 --plan --json --images 30")
    found = json.loads(printed)
    assert code == 0
    assert {row["kind"] for row in found["work"]} == {"training", "clean pass", "attack"}
    assert found["reasons"][0].startswith("digits: other images: ")
    code, _, error = ran(f"{SWEEP} --run runs/a --json")
    assert code == 2
    assert "sweep --plan --json" in error
