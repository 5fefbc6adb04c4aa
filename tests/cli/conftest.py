"""Commands in this process and in one of their own, and a small sweep for them."""

import sys

import pytest

from robustbench_ekdaa.cli import main

from ..support.command_line import SWEEP
from ..support.quick_models import write_card


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run a command, a string or a list of words, in an empty folder; returns (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(tmp_path / "data"))

    def run(command):
        words = command.split() if isinstance(command, str) else command
        monkeypatch.setattr(sys, "argv", ["robustbench-ekdaa", *words])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


@pytest.fixture
def ran(cli, tmp_path):
    """The same, in a workspace where a small sweep has been run."""
    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(tmp_path, name, rule)
    code, _, error = cli(f"{SWEEP} --run runs/a --workers 1")
    assert code == 0, error
    return cli
