"""`check` in a run of a second: what it prints, as text and as JSON, and how it ends."""

import json
import re
from pathlib import Path

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.checks import RUN_CHECKS

DOCUMENT = Path(__file__).parents[2] / "docs" / "checks.md"


def test_check_prints_findings_at_a_hundred_columns_and_as_json_and_ends_with_0(ran, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, printed, error = ran("check runs/a")
    assert (code, error) == (0, "")
    assert max(map(len, printed.splitlines())) <= 100
    told = [re.match(r"(fail|warn|pass) +(\w+( \w+)*)", line) for line in printed.splitlines()]
    statuses = [line[1] for line in told if line]
    assert statuses == sorted(statuses, key=["fail", "warn", "pass"].index)
    code, printed, error = ran("check runs/a --json")
    assert (code, error) == (0, "")
    rows = json.loads(printed)
    assert {tuple(row) for row in rows} == {("check", "status", "value", "where", "meaning", "remedy")}
    assert [row["status"] for row in rows] == statuses
    assert [one.plain() for one in rb.check("runs/a")] == rows


def test_check_of_a_model_leaves_out_what_is_about_others(ran):
    code, printed, _ = ran("check runs/a quick-bp --json")
    assert code == 0
    assert json.loads(printed) == [one.plain() for one in rb.open_results("runs/a").check("quick_bp")]


def test_a_wrong_run_and_a_wrong_model_are_one_line(ran):
    for command, message in (
        ("check runs/nowhere", "no results here"),
        ("check runs/a quick_b", "unknown model 'quick_b'. Did you mean quick_bp"),
    ):
        code, printed, error = ran(command)
        assert (code, printed) == (2, "")
        assert message in error
        assert len(error.strip().splitlines()) == 1


def test_the_page_about_checks_lists_them_all():
    assert set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", DOCUMENT.read_text(), re.MULTILINE)))
    ) == set(RUN_CHECKS)
