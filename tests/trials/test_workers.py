"""One process of a sweep with workers is killed: the sweep ends with one line, and the same command finishes it."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from .rounds import trials
from .tool import How
from .workplace import SWEEP, Undisturbed, proper

ROUNDS = 50
PAUSING = f"{SWEEP} run".replace("bp,ek", "bp,pausing")
MOMENTS = ("results.sqlite", "logs/*", "checkpoints/*")  # the first log and checkpoint are of the quick training


@pytest.fixture(scope="session")
def slow(cards, tmp_path_factory):
    """A workplace with a model that is trained for as long as one likes, and what `PAUSING` leaves undisturbed."""
    place = cards.copy_to(tmp_path_factory.mktemp("slow"))
    place.write_pausing_card(epochs=3)
    whole = place.copy_to(tmp_path_factory.mktemp("slow, undisturbed"))
    whole.fine(PAUSING)
    return place, Undisturbed(whole.run, whole.rows())


@trials(ROUNDS, samples=5)
def test_a_sweep_one_of_whose_worker_processes_is_killed_says_so_and_is_finished_by_the_same_command(
    slow, base, note, trial
):
    begun, undisturbed = slow
    place, draw = begun.copy_to(base / "place"), random.Random(trial)
    running = place.start(PAUSING.replace("--workers 1", "--workers 2"), How({"PAUSE": "0.02"}))
    moment, killed = MOMENTS[trial * len(MOMENTS) // ROUNDS], None
    while running.is_alive() and not list(place.run.glob(moment)):
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 1.5))
    while running.is_alive() and killed is None:
        killed = kill_one_of(running.pid, draw)
    ended = proper(running.wait())
    assert ended.code in (0, 1), ended.complaint
    assert ended.code == 0 or "a worker process" in ended.complaint, ended.complaint
    undisturbed.reached_by(place, PAUSING)
    note(f"killed: exit {ended.code}" if killed else "had none any more")


def kill_one_of(driver, draw):
    """Kill one of the processes that a process has started, directly or not; return it, or None if there is none."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found, more = set(), {driver}
    while more := {process for process, parent in parents.items() if parent in more} - found:
        found |= more
    if not found:
        return None
    chosen = draw.choice(sorted(found))
    os.kill(chosen, signal.SIGKILL)
    return chosen
