"""Two same commands started at once: both end well, the rows are right, and nothing is trained twice."""

from __future__ import annotations

import random
import re
import time

import pytest

from .rounds import trials
from .tool import PATIENCE, How
from .tracing import start_traced
from .workplace import SWEEP, proper

ROUNDS = 50
WAITING = "run: another command works in this folder; waiting until it has finished"


@pytest.fixture(scope="session")
def begun(cards, tmp_path_factory):
    """A workplace with a run in which half of `SWEEP` is done."""
    place = cards.copy_to(tmp_path_factory.mktemp("begun"))
    place.fine(f"{SWEEP} run".replace("fgsm,noise", "noise").replace("bp,ek", "bp"))
    return place


@trials(ROUNDS, samples=5)
def test_two_same_sweeps_at_once_share_the_work_on_a_new_folder_and_on_an_old_one(
    cards, begun, undisturbed, base, note, trial
):
    new = trial % 3 > 0
    place = (cards if new else begun).copy_to(base / "place")
    twins = [place.start(f"{SWEEP} run")]
    time.sleep(random.Random(trial).choice([0, 0, 0.01, 0.1]))
    twins.append(place.start(f"{SWEEP} run"))
    share_the_work(place, [twin.wait() for twin in twins], undisturbed, trainings=2 if new else 1)
    note(f"on {'a new' if new else 'an old'} folder")


@trials(ROUNDS)
def test_two_sweeps_at_once_that_differ_do_the_work_of_both_once(cards, undisturbed, base, note, trial):
    place = cards.copy_to(base / "place")
    twins = [place.start(f"{SWEEP} run".replace("fgsm,noise", attack)) for attack in ("fgsm", "noise")]
    share_the_work(place, [twin.wait() for twin in twins], undisturbed, trainings=2)
    note("each training once")


@trials(ROUNDS, samples=2)
def test_a_sweep_that_waits_for_one_that_is_killed_does_what_is_left(cards, undisturbed, seconds, base, note, trial):
    place, draw = cards.copy_to(base / "place"), random.Random(trial)
    first = place.start(f"{SWEEP} run", How(stopped=True))
    first.go_on()
    time.sleep(seconds * draw.uniform(0.2, 1))
    second = place.start(f"{SWEEP} run")
    time.sleep(draw.choice([0, 0.1, 0.3]))
    first.kill()
    first.wait()
    ended = proper(second.wait())
    assert ended.code == 0, ended.complaint
    undisturbed.held_by(place)
    note("had waited" if WAITING in ended.err else "did not have to wait")


@trials(6)
def test_two_same_sweeps_at_once_share_the_work_on_a_slow_disk(cards, begun, undisturbed, base, note, trial):
    new = trial < 4
    place = (cards if new else begun).copy_to(base / "place")
    slow = "inject=?fsync,?fdatasync:delay_exit=20000"  # microseconds
    twins = [start_traced(place, f"{SWEEP} run", base / f"log{number}", "-e", slow) for number in (1, 2)]
    ended = [twin.wait() for twin, _ in twins]
    for _, tracer in twins:
        tracer.communicate(timeout=PATIENCE)
    share_the_work(place, ended, undisturbed, trainings=2 if new else 1)
    note(f"on {'a new' if new else 'an old'} folder")


def share_the_work(place, twins, undisturbed, trainings):
    """Hold two sweeps to what they come to together; each training that was done says so in a line."""
    for one in twins:
        proper(one)
        assert one.code == 0, one.complaint
    assert sum(one.err.count(WAITING) for one in twins) <= 1, "both say that they wait"
    undisturbed.reached_by(place, f"{SWEEP} run")
    done = sum(len(re.findall("^train ", one.err, re.MULTILINE)) for one in twins)
    assert done == trainings, f"{done} trainings"


@trials(ROUNDS)
def test_two_same_trainings_at_once_both_end_well(cards, base, note, trial):
    place = cards.copy_to(base / "place")
    command = "train bp ek --dataset digits --seeds 2 --workers 1 --run run"
    twins = [place.start(command), place.start(command)]
    for twin in twins:
        ended = proper(twin.wait())
        assert ended.code == 0, ended.complaint
    place.fine(command)
    note("both ended well")
