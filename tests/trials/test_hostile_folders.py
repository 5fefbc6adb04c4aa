"""Folders that hold what nobody should have put there: commands work all the same, or say in one line what is wrong."""

from __future__ import annotations

import os
import shutil

import pytest

from .hostile_folders import ALL
from .tool import How
from .workplace import proper

SAMPLES = ("a_fifo_as_a_card", "a_run_that_is_a_file", "an_export_onto_the_store")
AS_NOBODY = pytest.mark.skipif(os.getuid() != 0, reason="only root can run commands as another user")


def marks(name):
    return [pytest.mark.slow] * (name not in SAMPLES) + [AS_NOBODY] * ALL[name].nobody


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in ALL])
def test_commands_in_a_hostile_folder_work_or_say_what_is_wrong(cards, undisturbed, base, nobodys, note, name):
    one = ALL[name]
    place = cards.copy_to((nobodys if one.nobody else base) / "place")
    if one.begun:
        shutil.copytree(undisturbed.run, place.run)
    if one.nobody:
        place.give_to_nobody()
    one.prepare(place)
    before = contents(place, one.commands)
    for command in one.fine:
        place.fine(command, one.how)
    for command, word in one.told:
        ended = place.clean(command, one.how)
        assert ended.code in (1, 2), f"{command}: not refused"
        assert word in ended.complaint, f"{command}: does not name {word}: {ended.complaint}"
    for command in one.either:
        place.clean(command, one.how)
    assert contents(place, one.commands) == before, "files were changed that no command had business with"
    note("held")


def contents(place, commands):
    """Return what small files there hold; but for the run folder if a command may write there."""
    swept = any(command.startswith("sweep") for command in commands)
    return {
        path: path.read_bytes()
        for path in place.folder.rglob("*")
        if path.is_file() and path.stat().st_size < 10**6 and not (swept and path.is_relative_to(place.run))
        if path.name != "rows.csv" and not path.is_relative_to(place.folder / "other")
    }


@AS_NOBODY
@pytest.mark.slow
def test_a_killed_run_that_nobody_may_write_is_exported_as_one_that_may_be_written(killed, base, nobodys, note):
    shut, open_ = killed.copy_to(nobodys / "shut"), killed.copy_to(base / "open")
    shut.folder.chmod(0o777)
    exported = proper(shut("export run --out rows.csv", How(nobody=True)))
    assert exported.code == 0, exported.complaint
    open_.fine("export run --out rows.csv")
    assert (shut.folder / "rows.csv").read_text() == (open_.folder / "rows.csv").read_text()
    note("held")
