"""A sweep killed, or refused by a full disk, just before a chosen system call that would have changed a file."""

from __future__ import annotations

import pytest

from .rounds import trials
from .tracing import changing_calls, chosen, traced
from .workplace import SWEEP, proper

KILLS, REFUSALS = 40, 20
FULL = {"fsync": "EIO", "fdatasync": "EIO"}  # what a failing disk answers; a full one says ENOSPC to the others


@pytest.fixture(scope="session")
def sweep_calls(cards, tmp_path_factory):
    """The calls by which a sweep changes files, in groups, in order."""
    base = tmp_path_factory.mktemp("traced")
    place = cards.copy_to(base / "place")
    return changing_calls(place, f"{SWEEP} {place.run}", base / "log")


@trials(KILLS)
def test_a_sweep_killed_before_a_chosen_system_call_is_finished_by_the_same_command(
    cards, undisturbed, sweep_calls, base, note, trial
):
    call = chosen(sweep_calls, trial, KILLS)
    place = cards.copy_to(base / "place")
    traced(place, f"{SWEEP} {place.run}", base / "log", "-e", f"inject={call.name}:signal=KILL:when={call.number}")
    print("killed before", call.shown)
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"before {call.name}")


@trials(REFUSALS)
def test_a_sweep_refused_one_system_call_by_the_disk_says_so_and_is_finished_by_the_same_command(
    cards, undisturbed, sweep_calls, base, note, trial
):
    call = chosen([group for group in sweep_calls if "unlink" not in group[0].name], trial, REFUSALS)
    error = FULL.get(call.name, "ENOSPC")
    place = cards.copy_to(base / "place")
    injected = f"inject={call.name}:error={error}:when={call.number}"
    ended = proper(traced(place, f"{SWEEP} {place.run}", base / "log", "-e", injected))
    print(error, "at", call.shown, ended.err)
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"{call.name}: {error}: exit {ended.code}")
