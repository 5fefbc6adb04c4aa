"""Commands that no user could mean are refused: exit code 2 or 1, one line that says why, and nothing is written."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from .rounds import spread
from .workplace import files_of
from .wrong import LINES, wrong_commands

SPEC = """
datasets = ["digits"]
models = ["bp"]
attacks = ["fgsm"]
epsilons = [0.1]
images = 30
seeds = 1
"""
WRONG = [*wrong_commands(), *(["sweep", "spec.toml", "--run", "new", "--workers", "1", line] for line in LINES)]


@pytest.fixture
def place(cards, undisturbed, base):
    """A workplace with all that the table names: a finished run, saved images, a data set, a file, an empty folder."""
    place = cards.copy_to(base / "place")
    shutil.copytree(undisturbed.run, place.folder / "there")
    shutil.copy(min((undisturbed.run / "adversarial").glob("fgsm*")), place.folder / "images.safetensors")
    images, labels = np.zeros((12, 4, 4), np.uint8), np.arange(12) % 2
    halves = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(place.folder / "mine.npz", **halves)
    (place.folder / "file").write_text("precious")
    (place.folder / "empty").mkdir()
    (place.folder / "loop").symlink_to("loop")
    os.mkfifo(place.folder / "fifo")
    return place


@pytest.mark.parametrize("words", spread(WRONG, samples=5))
def test_a_wrong_command_is_refused_in_one_line_and_writes_nothing(place, note, words):
    line = ""
    if words[1:2] == ["spec.toml"]:
        *words, line = words
        field = line.partition(" ")[0]
        right = "".join(kept for kept in SPEC.splitlines(keepends=True) if not kept.startswith(f"{field} "))
        (place.folder / "spec.toml").write_text(right + line + "\n")
    before = {path: stamp(place.folder / path) for path in files_of(place.folder)}
    ended = place.clean(words)
    print(words, ended.err)
    assert ended.code in (1, 2), f"{ended.command}: was accepted, with {line[:80]}"
    assert ended.err.count("\n") == 1, f"{ended.command}: says more than one line: {ended.err[:2000]}"
    assert ended.out == "", f"{ended.command}: prints {ended.out[:2000]}"
    assert {path: stamp(place.folder / path) for path in files_of(place.folder)} == before, (
        f"{ended.command}: wrote something"
    )
    note(f"exit {ended.code}")


def stamp(path):
    facts = path.lstat()
    return facts.st_size, facts.st_mtime_ns, facts.st_mode
