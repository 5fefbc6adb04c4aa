"""The wall clock is set back while a sweep works, and before it goes on: nothing that is stored or done depends on it.

A small library, made from `clock.c` and loaded before libc, shows the processes a clock that leaps back by up to ten
years in the middle of the work and runs backwards from then on. Files are dated as the clock was before, so that the
sweep that goes on finds all of them to be from the future.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from .rounds import trials
from .tool import How
from .workplace import SWEEP, proper

ROUNDS, YEARS = 50, 10 * 365 * 86400


@trials(ROUNDS, samples=5)
def test_a_sweep_whose_clock_is_set_back_is_finished_by_the_same_command_as_if_it_were_not(
    clock, cards, undisturbed, seconds, base, note, trial
):
    place, draw = cards.copy_to(base / "place"), random.Random(trial)
    leap = seconds * (trial + draw.random()) / ROUNDS
    running = place.start(f"{SWEEP} run", How({"CLOCK": f"{leap} {10 ** draw.uniform(0, 8.5)} 1000"}, stopped=True))
    assert "clock.so" in Path(f"/proc/{running.pid}/maps").read_text(), "its clock cannot be set back"
    running.go_on()
    if killed := draw.random() < 0.6:
        time.sleep(seconds * draw.random())
        running.kill()
        running.wait()
    else:
        ended = proper(running.wait())
        assert ended.code == 0, ended.complaint
    for path in place.folder.rglob("*"):
        future = time.time() + draw.uniform(0, YEARS)
        os.utime(path, (future, future), follow_symlinks=False)
    back = How({"CLOCK": f"0 {YEARS} 1000"})
    place.clean("status run", back)
    place.fine(f"{SWEEP} run", back)
    undisturbed.held_by(place)
    note("killed" if killed else "not killed")
