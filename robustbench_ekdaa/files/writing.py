"""New files and folders: whole or not at all, and only in the place of files and folders."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError, WorkFailed
from .reading import shown_path
from .unfinished import BEFORE, private_folder, tidy

STANDARD_OUTPUT = "-"  # what an --out is called that is no file
KEY = "[0-9a-f]{16}"


@contextmanager
def clear_errors(path: Path, *, kept: str = "everything finished before is kept", misuse: str = "") -> Iterator[None]:
    """Turn an OSError of writing `path` into one line.

    Args:
        path: what is written.
        kept: what the line says of the loss and of what to do.
        misuse: for a path that somebody chose, what to choose instead.

    Raises:
        WorkFailed: for a disk that is full or failing; without `misuse`, for any other reason too.
        UsageError: with `misuse`, for a path that cannot be written.
    """
    try:
        yield
    except BrokenPipeError:  # whoever reads what we print has seen enough
        raise
    except OSError as error:
        said = f"{shown_path(path)}: could not be written ({error.strerror or error})"
        if misuse and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise UsageError(f"{said}; nothing was changed. {misuse}") from None
        raise WorkFailed(f"{said}; {kept}") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file to write; it takes the place of `path` only when all went well.

    The new file has the permissions that the process's umask gives, and is on the disk before it has its name. It
    takes the place of a symbolic link, not of what that points to. Folders are made.

    Raises:
        OSError: when it cannot be written, or when something else than a regular file is there.
    """
    _refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with private_folder(path.parent) as room:
        draft = room / "file"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.fchmod(handle, 0o600)  # a umask may even forbid to write
        os.close(handle)
        yield draft
        draft.chmod(mode)  # some libraries put a private file of their own in the place of the one that they are given
        _flush(draft)
        draft.replace(path)


def _refuse_special(path: Path) -> None:
    """Raise OSError for a folder, a pipe, a device or a socket, or a link to one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a pipe, a device or a socket, and only files are replaced")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def output_file(path: Path | str, misuse: str = "Choose another --out, or - for standard output.") -> Iterator[Path]:
    """Give an empty file to write what somebody asked for with ``--out``; see `whole_file`.

    A symbolic link is followed: what it points to is replaced, and the link stays.

    Args:
        path: where it goes; ``-`` is standard output.
        misuse: what the line says for a path that cannot be written.

    Raises:
        UsageError: for a path inside a run folder, or that cannot be written.
        WorkFailed: for a full disk.
    """
    if str(path) == STANDARD_OUTPUT:
        with tempfile.TemporaryDirectory() as folder:
            yield (draft := Path(folder) / "output")
            _print(draft)
        return
    path = Path(path)
    with clear_errors(path, kept="nothing that was there is lost. Free some space and try again.", misuse=misuse):
        refuse_run_folder(path)
        _refuse_special(path)  # before links are followed: /dev/stdout is one that leads to no name
        target = Path(os.path.realpath(path))
        tidy(target.parent, rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.partial")
        with whole_file(target) as draft:
            yield draft


def _print(path: Path) -> None:
    """Copy a file to standard output, byte by byte."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise UsageError("standard output takes text alone here. Choose a file as --out.")
    with clear_errors(Path("standard output"), kept="what is there is not whole"), path.open("rb") as file:
        shutil.copyfileobj(file, stream)
        stream.flush()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of `folder`, and of all in it, only when all went well.

    Where the system can, the two change places in one step, so that one of them is there at any time.

    Raises:
        OSError: when it cannot be written.
    """
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    tidy(target.parent, rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.(partial|before)")
    with private_folder(target.parent) as room:
        draft = room / "folder"
        draft.mkdir()
        yield draft
        if not os.path.lexists(target):
            draft.rename(target)
        elif not _exchange(draft, target):
            _replace_in_two_steps(draft, target, room / BEFORE)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; return whether it was done, which not every system can."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _replace_in_two_steps(draft: Path, target: Path, aside: Path) -> None:
    """Put a finished folder in the place of another; if that fails, the other stays."""
    aside.mkdir()
    before = target.rename(aside / target.name)  # if we are killed here, `tidy` puts it back
    try:
        draft.rename(target)
    except OSError:
        before.rename(target)
        raise


# -- run folders -----------------------------------------------------------------------------------------------------


def refuse_run_folder(path: Path, advice: str = "Choose another --out.") -> None:
    """Raise UsageError for a place in a run folder: only trainings and sweeps write there."""
    for place in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
        for folder in (place, *place.parents):
            if is_run_folder(folder):
                raise UsageError(
                    f"{shown_path(path)}: lies in the run folder {shown_path(folder)}, where nothing else may be "
                    f"written; nothing was changed. {advice}"
                )


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a results store, or models or logs of a training that had no time to make one."""
    if os.path.lexists(folder / "results.sqlite"):
        return True
    names = rf"{KEY}(\.partial)?\.safetensors|{KEY}\.jsonl"
    return any(re.fullmatch(names, name) for part in ("checkpoints", "logs") for name in _names(folder / part))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
