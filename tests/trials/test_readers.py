"""Commands that read a run while a sweep writes it work or say that there is nothing yet, and show what is so."""

from __future__ import annotations

import random
import re
import time

import pandas as pd
import pytest

from .rounds import trials
from .tool import How
from .workplace import Undisturbed, proper

ROUNDS = 50
SWEEP = (
    "sweep --dataset digits --models bp,ek --seeds 2 --images 100 --attacks fgsm,bim,mi_fgsm,noise "
    "--epsilons 0.05:0.2:0.05 --workers 1 --run"
)
REPORT = "report run --out page"
READERS = ("export run --out now.csv", "export run --out now.csv", "status run", "verify run")
NOTHING_YET = re.compile("no results here|no sweep was run here yet|nothing was trained here yet")
# What a row says of its own cell; other columns speak of other cells too, which may not be there yet.
OWN = ("dataset", "surrogate", "surrogate_seed", "target", "target_seed", "attack", "epsilon", "n_images", "accuracy")


@pytest.fixture(scope="session")
def whole(cards, tmp_path_factory):
    """What the sweep leaves when nobody reads meanwhile."""
    place = cards.copy_to(tmp_path_factory.mktemp("unread"))
    place.fine(f"{SWEEP} run")
    place.fine("export run --out now.csv")
    return Undisturbed(place.run, place.rows()), own(place.folder / "now.csv")


def own(path):
    """Return what the rows of a table say of their own cells."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return set(frame[list(OWN)].itertuples(index=False, name=None))


def own_rows(place):
    """Return what a finished run's rows say."""
    place.fine("export run --out end.csv")
    return own(place.folder / "end.csv")


@trials(ROUNDS, samples=5)
def test_commands_that_read_a_run_while_a_sweep_writes_it_show_a_part_of_the_whole(cards, whole, base, note, trial):
    read_beside(cards.copy_to(base / "place"), f"{SWEEP} run", whole, trial, note)


@trials(10, samples=0)
def test_commands_that_read_a_run_while_a_sweep_with_workers_writes_it_show_a_part_of_the_whole(
    cards, whole, base, note, trial
):
    read_beside(cards.copy_to(base / "place"), f"{SWEEP} run".replace("workers 1", "workers 2"), whole, trial, note)


def read_beside(place, command, whole, trial, note):
    undisturbed, rows = whole
    draw, shown = random.Random(trial), set()
    running = place.start(command, How(stopped=True))
    running.go_on()
    time.sleep(draw.uniform(0, 0.4))
    reader = REPORT if trial % 3 == 2 else READERS[0]
    while running.is_alive():
        ended = place.clean(reader)
        assert ended.code == 0 or NOTHING_YET.search(ended.complaint), f"{reader}: {ended.complaint}"
        for table in ("now.csv", "page/tables/results.csv"):
            if (place.folder / table).exists():
                found = own(place.folder / table)
                assert found <= rows, "shows rows that are not so"
                shown.add(len(found))
        reader = draw.choice(READERS)
    ended = proper(running.wait())
    assert ended.code == 0, ended.complaint
    assert own_rows(place) == rows
    place.fine(command)  # where somebody read just as the sweep ended, SQLite's files beside the store stayed
    undisturbed.held_by(place)
    note(
        "a part of the rows was shown" if any(0 < count < len(rows) for count in shown) else "all or nothing was shown"
    )
