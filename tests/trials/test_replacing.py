"""Commands that replace a file or a folder, killed at a chosen system call: the old or the new one is there, whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from .rounds import MOST
from .tracing import changing_calls, chosen, traced
from .workplace import SWEEP, Workplace, files_of, read_rows


@dataclass(frozen=True)
class Replacing:
    """A command that writes one thing.

    Attributes:
        command: with the workplace's folder as HERE.
        prepare: changes the workplace so that the command writes version 1 or 2.
        read: what of the thing written tells the versions apart.
    """

    command: str
    prepare: Callable[[Workplace, int], None]
    read: Callable[[Workplace], Any]


def choose_run(place, version):
    shutil.rmtree(place.run, ignore_errors=True)
    shutil.copytree(place.folder / f"run{version}", place.run)


def write_images(place, version):
    images = np.random.default_rng(version).integers(0, 255, (12, 4, 4), dtype=np.uint8)
    labels = np.arange(12) % 2
    halves = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(place.folder / "mine.npz", **halves)


def read_page(place):
    page = (place.folder / "out" / "report" / "index.html").read_text()
    return "fgsm" in page, read_rows(place.folder / "out" / "report" / "tables" / "results.csv")


def read_images(place):
    with np.load(place.folder / "data" / "mine.npz") as archive:
        return archive["train_images"].tobytes()


KINDS = {
    "export": Replacing(
        "export HERE/run --out HERE/out/rows.csv",
        choose_run,
        lambda place: read_rows(place.folder / "out" / "rows.csv"),
    ),
    "report": Replacing("report HERE/run --out HERE/out/report", choose_run, read_page),
    "data import": Replacing("data import HERE/mine.npz --name mine --replace", write_images, read_images),
    "init": Replacing(
        "init HERE/out/new", lambda place, version: None, lambda place: files_of(place.folder / "out" / "new")
    ),
}
ROUNDS = {"export": 10, "report": 4, "data import": 10, "init": 10}
rounds = pytest.mark.parametrize(
    ("kind", "trial"),
    [
        pytest.param(kind, trial, marks=() if trial == 0 and kind == "export" else pytest.mark.slow)
        for kind, count in ROUNDS.items()
        for trial in range(min(count, MOST or count))
    ],
)


@pytest.fixture(scope="session")
def two_runs(cards, tmp_path_factory):
    """A workplace with a run of one attack and a run of two."""
    place = cards.copy_to(tmp_path_factory.mktemp("two runs"))
    for version, attacks in ((1, "noise"), (2, "noise,fgsm")):
        place.fine(f"{SWEEP} run{version}".replace("fgsm,noise", attacks))
    return place


@pytest.fixture(scope="session")
def undisturbed_kind(two_runs, tmp_path_factory):
    """Return, of a kind, what version 1 reads like, version 2, all files then, and the calls that replace the first."""
    found = {}

    def of(kind):
        if kind not in found:
            base = tmp_path_factory.mktemp("replaced")
            place = two_runs.copy_to(base / "place")
            first = written(place, kind)
            command = next_command(place, kind)
            calls = changing_calls(place, command, base / "log")
            found[kind] = first, KINDS[kind].read(place), written_files(place), calls
        return found[kind]

    return of


def written(place, kind):
    """Let a command write version 1, and return what it reads like."""
    KINDS[kind].prepare(place, 1)
    place.fine(KINDS[kind].command.replace("HERE", str(place.folder)))
    return KINDS[kind].read(place)


def next_command(place, kind):
    """Prepare version 2 and return the command that writes it; of a new workspace there is no older version."""
    KINDS[kind].prepare(place, 2)
    if kind == "init":
        shutil.rmtree(place.folder / "out")
    return KINDS[kind].command.replace("HERE", str(place.folder))


def written_files(place):
    return [files_of(place.folder / name) for name in ("out", "data")]


@rounds
def test_what_a_killed_command_was_to_replace_is_the_old_or_the_new_and_the_same_command_leaves_nothing_else(
    two_runs, undisturbed_kind, base, note, kind, trial
):
    first, second, files, calls = undisturbed_kind(kind)
    place = two_runs.copy_to(base / "place")
    written(place, kind)
    command, call = next_command(place, kind), chosen(calls, trial, ROUNDS[kind])
    traced(place, command, base / "log", "-e", f"inject={call.name}:signal=KILL:when={call.number}")
    print("killed before", call.shown)
    if kind != "init":
        found = KINDS[kind].read(place)
        assert found in (first, second), "neither the old nor the new"
        note(f"{kind}: {'the old' if found == first else 'the new'}")
    else:
        note(kind)
    place.fine(command)
    assert KINDS[kind].read(place) == second
    assert written_files(place) == files, "the kill's leftovers stay"
