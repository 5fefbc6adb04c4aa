"""Files of one run in each other's places: told, and never used as what they are not."""

from __future__ import annotations

import pytest

from .damage import ends_well
from .rounds import spread
from .workplace import SWEEP, Undisturbed

TWO_SEEDS = SWEEP.replace("--seeds 1", "--seeds 2")


@pytest.fixture(scope="session")
def half_done(cards, tmp_path_factory):
    """A workplace with a run of a part of the sweep, and what the whole comes to undisturbed."""
    whole = cards.copy_to(tmp_path_factory.mktemp("whole"))
    whole.fine(f"{TWO_SEEDS} run")
    place = cards.copy_to(tmp_path_factory.mktemp("half done"))
    place.fine(f"{TWO_SEEDS} run".replace("fgsm,noise", "fgsm").replace("0.1,0.2", "0.1"))
    return place, Undisturbed(whole.run, whole.rows())


def exchange(one, other):
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def copy(one, other):
    other.write_bytes(one.read_bytes())


def link(one, other):
    other.unlink()
    other.symlink_to(one.name)


PAIRS = [("checkpoints", 0, 1), ("checkpoints", 1, 3), ("adversarial", 0, 1)]  # kind, and places in the sorted folder
SWAPS = [(pair, swap) for swap in (exchange, copy, link) for pair in PAIRS]


@pytest.mark.parametrize("swapped", spread(SWAPS))
def test_files_in_each_others_places_are_told_and_never_used(half_done, base, note, swapped):
    begun, undisturbed = half_done
    place = begun.copy_to(base / "place")
    (kind, *positions), swap = swapped
    one, other = (sorted((place.run / kind).iterdir())[position] for position in positions)
    swap(one, other)
    note(ends_well(place, TWO_SEEDS, [one, other], undisturbed))
