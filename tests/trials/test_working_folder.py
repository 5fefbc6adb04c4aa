"""Python files in the folder where a command is typed are not run, whatever modules they are named like."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .workplace import SWEEP

NAMES = ("socket", "queue", "json", "random", "torch", "numpy", "robustbench_ekdaa", "sitecustomize")


@pytest.mark.slow
def test_files_named_like_modules_are_not_run_by_a_sweep_with_workers(cards, base, note):
    command = shutil.which("robustbench-ekdaa", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("the command is not installed beside this Python")
    place = cards.copy_to(base / "place")
    for name in NAMES:
        text = f"open({str(place.folder)!r} + '/ran-{name}', 'w')\nraise ImportError('the wrong {name}')\n"
        (place.folder / f"{name}.py").write_text(text)
    arguments = f"{SWEEP} run".replace("--workers 1", "--workers 2").split()
    ended = subprocess.run([command, *arguments], cwd=place.folder, capture_output=True, text=True, timeout=300)
    assert not list(place.folder.glob("ran-*"))
    assert ended.returncode == 0, ended.stderr
    note("none ran")
