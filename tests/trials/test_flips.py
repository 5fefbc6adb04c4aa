"""One bit of one file of a run is flipped: the rows are the same, or one line names the file and its advice helps."""

from __future__ import annotations

import random
import shutil

import pytest

from .damage import ends_well, flip, kill_once_there_is
from .rounds import trials
from .tool import How
from .workplace import SWEEP, Undisturbed, read_rows

ROUNDS = 300
MOMENTUM = """
optimizer_options = { momentum = 0.9 }
schedule = "StepLR"
schedule_options = { step_size = 2, gamma = 0.5 }
"""
TRAINING = (
    "sweep --dataset digits --models pausing --seeds 1 --images 30 --attacks noise --epsilons 0.1 --workers 1 --run"
)


@pytest.fixture(scope="session")
def half_done(cards, tmp_path_factory):
    """A workplace with a run of a part of `SWEEP`, whose networks and images the whole needs."""
    place = cards.copy_to(tmp_path_factory.mktemp("half done"))
    place.fine(f"{SWEEP} run".replace("fgsm,noise", "fgsm").replace("0.1,0.2", "0.1"))
    return place


@pytest.fixture(scope="session")
def partly_trained(tmp_path_factory, cards):
    """A workplace with a training killed after some epochs, and what it comes to undisturbed."""
    begun = cards.copy_to(tmp_path_factory.mktemp("partly trained"))
    begun.write_pausing_card(epochs=6, more=MOMENTUM)
    whole = begun.copy_to(tmp_path_factory.mktemp("wholly trained"))
    whole.fine(f"{TRAINING} run")
    running = begun.start(f"{TRAINING} run", How({"PAUSE": "0.05"}))
    kill_once_there_is(begun, running, "checkpoints/*.partial.safetensors")
    return begun, Undisturbed(whole.run, whole.rows())


@trials(ROUNDS)
def test_a_flipped_bit_in_a_checkpoint_is_told_and_never_used(half_done, undisturbed, base, note, trial):
    place, draw = half_done.copy_to(base / "place"), random.Random(trial)
    path = draw.choice(sorted(place.run.glob("checkpoints/*")))
    flip(path, draw)
    note(ends_well(place, SWEEP, [path], undisturbed))


@trials(ROUNDS)
def test_a_flipped_bit_in_saved_images_is_told_and_never_used(half_done, undisturbed, base, note, trial):
    place, draw = half_done.copy_to(base / "place"), random.Random(trial)
    path = draw.choice(sorted(place.run.glob("adversarial/*")))
    flip(path, draw)
    note(ends_well(place, SWEEP, [path], undisturbed))


@trials(ROUNDS, samples=0)
def test_a_flipped_bit_in_a_partial_checkpoint_is_told_and_never_used(partly_trained, base, note, trial):
    begun, whole = partly_trained
    place, draw = begun.copy_to(base / "place"), random.Random(trial)
    (path,) = place.run.glob("checkpoints/*.partial.safetensors")
    flip(path, draw)
    note(ends_well(place, TRAINING, [path], whole))


@trials(ROUNDS)
def test_a_flipped_bit_in_the_store_is_told_and_changes_no_row(cards, killed, undisturbed, base, note, trial):
    whole, draw = trial % 3 > 0, random.Random(trial)
    place = (cards if whole else killed).copy_to(base / "place")
    if whole:
        shutil.copytree(undisturbed.run, place.run)
    path = place.run / draw.choice(["results.sqlite"] if whole else ["results.sqlite", "results.sqlite-wal"])
    flip(path, draw)
    exported = place.clean("export run --out at-once.csv")
    if exported.code != 0:
        assert "results.sqlite" in exported.complaint
    elif whole:
        assert read_rows(place.folder / "at-once.csv") == undisturbed.rows, "exports other rows in silence"
    note(ends_well(place, SWEEP, [path], undisturbed))
