"""Reading files that a user names, showing their paths, and finding whether they changed."""

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
    """Return a path for messages: relative to the current folder if it is inside it, else as it is."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder is gone
        return str(path)


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        most: the most bytes that it may have.

    Raises:
        UsageError: naming the path, for a larger file, for a pipe or a device, and for what cannot be read.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)  # before it is opened: opening a pipe waits for a writer
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
    """Return facts of a file that change when it is changed; None if there is no such file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None
