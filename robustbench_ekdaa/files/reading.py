"""Files that somebody names: what they hold, how messages call them, and whether they changed."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import UsageError

Stamp = tuple[int, int, int]
NO_FILES = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


def shown_path(path: Path) -> str:
    """Return a path as short as it can be said from the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder is gone
        return str(path)


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        UsageError: in one line with the path, for anything else and for what cannot be read.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)  # before it is opened, as that waits at a pipe nobody writes to
        if kind != stat.S_IFREG:
            raise UsageError(f"{shown_path(path)}: cannot be read ({NO_FILES.get(kind, 'it is no file')})")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError as error:
        reason = "it is a link that leads nowhere" if path.is_symlink() else error.strerror
        raise UsageError(f"{shown_path(path)}: cannot be read ({reason})") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise UsageError(f"{shown_path(path)}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > most:
        raise UsageError(f"{shown_path(path)}: is too large ({most / 1e6:g} MB at most)")
    return content


def stamp(path: Path) -> Stamp | None:
    """Return what changes when a file does, so that a changed one is read anew; None if there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None
