"""A run folder that may not be written, or not any longer: a sweep says so, and is finished once it may be."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress

from .rounds import trials
from .tool import How
from .workplace import SWEEP, proper

ROUNDS = 50


def forbid_writing(folder, *, files):
    """Take the right to write from a folder and all in it; from files only if wanted."""
    for path in (folder, *folder.rglob("*")):
        if files or path.is_dir():
            with suppress(FileNotFoundError):  # it was a draft
                path.chmod(0o555 if path.is_dir() else 0o444)


def let_write(folder):
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@trials(ROUNDS, samples=5)
def test_a_sweep_whose_folder_becomes_read_only_says_so_and_is_finished_once_it_is_not(
    cards, undisturbed, seconds, nobodys, note, trial
):
    place, draw = cards.copy_to(nobodys / "place"), random.Random(trial)
    place.run.mkdir()
    how = How(nobody=os.getuid() == 0)  # whom rights concern, as they do not concern root
    if how.nobody:
        place.give_to_nobody()
    running = place.start(f"{SWEEP} run", How(nobody=how.nobody, stopped=True))
    if trial:
        running.go_on()
        time.sleep(seconds * (trial + draw.random()) / ROUNDS)
    forbid_writing(place.run, files=draw.random() < 0.5)
    if not trial:
        running.go_on()
    ended = proper(running.wait())
    assert ended.code == 0 or "run" in ended.complaint, ended.complaint
    place.clean("export run --out early.csv", how)
    let_write(place.run)
    place.fine(f"{SWEEP} run", how)
    undisturbed.held_by(place)
    note(f"exit {ended.code}")
