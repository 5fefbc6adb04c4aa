"""Ways in and out: empty words, wrong paths, other people's settings."""

import os
import re
import subprocess
import sys
import warnings

import pytest

from ..support.command_line import PROGRAM, SWEEP
from ..support.quick_models import write_card


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "backprop", "--dataset", "digits", "--run", ""], "--run: is empty"),
        (["train", "backprop", "--dataset", "digits", "--run="], "--run: is empty"),
        (["train", "backprop", "--dataset", "digits", "--run", " "], "--run: is empty"),
        (["train", "", "--dataset", "digits", "--run", "r"], "models: is empty"),
        (["train", "backprop", "--dataset", "", "--run", "r"], "--dataset: is empty"),
        ([*SWEEP.split(), "--run", "r", "--workspace", ""], "--workspace: is empty"),
        (["sweep", "", "--run", "r"], "spec_file: is empty"),
        (
            ["score", "x.npz", "--dataset", "digits", "--models", "ekdaa", "--run", "r", "--name", ""],
            "--name: is empty",
        ),
        (["report", "", "--out", "x"], "run: is empty"),
        (["report", "r", "--out", ""], "--out: is empty"),
        (["export", " "], "run: is empty"),
        (["data", "import", "--name", "x", ""], "source: is empty"),
        (["export", "", "--no-such"], "an argument: is empty"),
        (["export", "r", "--out", ""], "--out: is empty"),
        (["quickstart", "--out", ""], "--out: is empty"),
        (["data", "import", "x.npz", "--name", ""], "--name: is empty"),
        (["init", ""], "folder: is empty"),
        (["list", "models", "--workspace", "\t"], "--workspace: is empty"),
    ],
)
def test_an_empty_word_is_refused_and_nothing_is_made(cli, tmp_path, command, message):
    code, out, error = cli(command)
    assert (code, out, error) == (2, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "report LONG --out x",
        "export LONG --out x.csv",
        "init LONG",
        "sweep LONG --run r",
        "score LONG --dataset digits --models backprop --run r",
        "train backprop --dataset digits --run LONG",
        "data import LONG --name x",
        "list models --workspace LONG",
        "check-rule LONG.py:X",
    ],
)
def test_a_name_longer_than_a_file_system_takes_is_one_line_that_says_so(cli, tmp_path, command):
    code, _, error = cli(command.replace("LONG", "x" * 300))
    assert code == 2
    assert re.search("File name too long|cannot give an attack the name", error)
    assert "xxx" in error
    assert error.count("\n") == 1
    assert "fault" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_warnings_of_libraries_are_errors_for_nobody(tmp_path):
    """Foolbox imports from a place that SciPy warns of."""
    write_card(tmp_path, "quick_bp", "backprop")
    command = (
        "sweep --dataset digits --models quick_bp --attacks deepfool_linf --epsilons 0.2 --images 4 --seeds 1 --run r"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [*PROGRAM, *command.split(), "--workers", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
    script = (
        "import robustbench_ekdaa as rb, torch\n"
        "digits = rb.load_dataset('digits', 'test', limit=2)\n"
        "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        "rb.craft('deepfool_linf', model, digits.images, digits.labels, [0.1])\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, check=True)


def test_a_warning_is_one_line_without_commands_to_the_terminal(cli, capsys):
    cli("list suites")
    warnings.warn("two\nlines \x1b[31m", stacklevel=1)
    assert capsys.readouterr().err == "warning: two lines \\x1b[31m\n"


def test_names_that_are_not_utf_8_are_names(cli, tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")
    run = os.fsdecode(b"caf\xe9")
    sweep = [*SWEEP.replace(",quick_ekdaa", "").split(), "--workers", "1", "--run", run]
    for _ in range(2):
        code, out, error = cli(sweep)
        assert code == 0, error
    assert "robustbench-ekdaa report $'caf\\xe9' --out report" in out
    code, out, error = cli(["report", run, "--out", f"{run}-report"])
    assert (code, out) == (0, "Report: caf\\xe9-report/index.html\n"), error
    page = (tmp_path / f"{run}-report" / "index.html").read_text(encoding="utf-8")
    assert "--run $&#39;caf\\xe9&#39;" in page
    code, out, error = cli(["export", run, "--out", f"{run}.csv"])
    assert (code, out) == (0, "caf\\xe9.csv: 18 rows\n"), error
    assert (tmp_path / f"{run}.csv").exists()
