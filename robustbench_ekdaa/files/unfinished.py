"""Private folders for unfinished files, and the removal of those that killed processes left behind.

A private folder has a random name, so that nobody can put a link into it beforehand. It is locked while its process
lives, so that `tidy` removes only the folders of killed processes.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = re.compile(r"\.robustbench-ekdaa\.[0-9a-f]{16}\.tmp")
BEFORE = "before"  # the part of a private folder that holds a folder while it is being replaced


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """Give a private folder in `parent`; it is removed at the end, with everything in it."""
    room, lock = _locked_folder(parent)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        room = parent / f".robustbench-ekdaa.{secrets.token_hex(8)}.tmp"
        room.mkdir(0o700)
        try:
            lock = os.open(room, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process's `tidy` removed it before we had locked it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # and here it is about to remove it
            os.close(lock)
            continue
        except OSError:  # a file system without locks, on which `tidy` removes nothing
            pass
        if room.exists():
            return room, lock
        os.close(lock)


def tidy(folder: Path, others: str | None = None) -> None:
    """Remove what killed processes left in a folder, but nothing of living processes or other programs.

    Args:
        folder: where to look; its subfolders are not searched.
        others: a pattern of the names of unfinished files of early releases; these are removed when an hour old.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if NAMES.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            _remove_unheld(Path(entry.path))
        elif others and re.fullmatch(others, entry.name):
            _remove_old(Path(entry.path))


def _remove_unheld(room: Path) -> None:
    try:
        lock = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for before in (room / BEFORE).glob("*"):
            if not os.path.lexists(room.parent / before.name):
                before.rename(room.parent / before.name)
        shutil.rmtree(room, ignore_errors=True)
    except OSError:  # a process works in it, or the file system has no locks
        return
    finally:
        os.close(lock)


def _remove_old(path: Path) -> None:
    try:
        if time.time() - path.lstat().st_mtime < 3600:
            return
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return
