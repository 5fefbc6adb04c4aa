"""Private folders for unfinished files, and what killed processes left of them.

A private folder is made under a name nobody can guess, so no link can be planted in it; and it is locked for as long as
its process lives, so that `tidy` can tell the leftovers of killed processes from work in progress.
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
BEFORE = "before"  # where a private folder holds a folder that is just being replaced


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """Give a private folder in `parent`; it goes at the end, with what is still in it."""
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
        except FileNotFoundError:  # another process's `tidy` was faster than our lock
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # and here it is about to be
            os.close(lock)
            continue
        except OSError:  # a file system without locks: nothing is ever tidied there
            pass
        if room.exists():
            return room, lock
        os.close(lock)


def tidy(folder: Path, others: str = "") -> None:
    """Remove what killed processes left in a folder; what a living process holds stays, and what is not ours.

    Args:
        folder: where to look, not in its folders.
        others: a pattern of the names of unfinished files in early releases; those go when they are an hour old.
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
    except OSError:  # somebody works in it, or the file system has no locks
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
