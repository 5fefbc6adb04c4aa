"""The command publish, and the option --zoo."""

from __future__ import annotations

import re

import pytest

from ..support.quick_models import write_card
from ..support.web_server import served


@pytest.fixture
def published(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    write_card(tmp_path, "quick", "backprop")
    assert cli("train quick --dataset digits --seeds 1 --run run --workers 1")[0] == 0
    code, out, error = cli("publish run --to zoo")
    assert (code, error) == (0, "")
    assert re.search(r"quick on digits, seed 0 +added +[0-9a-f]{16}", out)
    return cli


@pytest.mark.parametrize(
    "command",
    [
        "train quick --dataset digits --seeds 1",
        "sweep --dataset digits --models quick --attacks fgsm --epsilons 0.1 --images 10 --seeds 1",
    ],
)
def test_models_are_taken_from_a_zoo_and_that_is_told(command, published, tmp_path):
    with served(tmp_path / "zoo") as server:
        code, _, error = published(f"{command} --run new --workers 1 --zoo {server.url}")
    assert code == 0
    assert f"quick on digits, seed 0: taken from the zoo {server.url}, not trained" in error
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        assert (tmp_path / "new" / "checkpoints" / path.name).read_bytes() == path.read_bytes()


def test_faults_are_one_line_and_the_right_exit_code(published, tmp_path):
    train = "train quick --dataset digits --seeds 1 --run new --workers 1 --zoo"
    with served(tmp_path / "zoo") as server:
        server.fault, server.at = "truncated", "safetensors"
        code, _, error = published(f"{train} {server.url}")
        assert (code, error.count("\n")) == (1, 1)
        assert error.startswith("error: http://127.0.0.1")
    code, _, error = published(f"{train} nowhere")
    assert (code, error) == (2, "error: nowhere: cannot be read (No such file or directory)\n")
    code, _, error = published("publish run --to run/zoo")
    assert (code, error.count("\n")) == (2, 1)
    code, _, error = published(["publish", "run", "--to", ""])
    assert (code, error) == (2, "error: --to: is empty\n")
    assert not (tmp_path / "new").exists()
