"""Writing files and folders whole or not at all, and replacing nothing but files and folders."""

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

STANDARD_OUTPUT = "-"  # as the value of --out
KEY = "[0-9a-f]{16}"


@contextmanager
def clear_errors(
    path: Path, *, kept: str = "everything finished before is kept", misuse: str | None = None
) -> Iterator[None]:
    """Turn an OSError of writing `path` into one line.

    Args:
        path: what is written.
        kept: what the message says about what is kept and what to do.
        misuse: for a path that the user chose, what the message says to choose instead.

    Raises:
        WorkFailed: for a disk that is full or failing; without `misuse`, for any other reason too.
        UsageError: with `misuse`, for a path that cannot be written.
    """
    try:
        yield
    except BrokenPipeError:  # the program that read our output has ended
        raise
    except OSError as error:
        message = f"{shown_path(path)}: could not be written ({error.strerror or error})"
        if misuse and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise UsageError(f"{message}; nothing was changed. {misuse}") from None
        raise WorkFailed(f"{message}; {kept}") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file to write, which replaces `path` at the end if there was no error.

    The new file has the permissions that the process's umask gives, and is on the disk before it gets its name. If
    `path` is a symbolic link, the link is replaced, not the file that it points to. Missing folders are made.

    Args:
        path: the file to write.

    Raises:
        OSError: when it cannot be written, or when `path` is anything but a regular file.
    """
    _refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with private_folder(path.parent) as room:
        draft = room / "file"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.fchmod(handle, 0o600)  # because a umask may even forbid writing
        os.close(handle)
        yield draft
        draft.chmod(mode)  # some libraries replace the file by one with other permissions
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
    """Give an empty file to write for the option ``--out``; see `whole_file`.

    A symbolic link is followed: the file that it points to is replaced, and the link stays.

    Args:
        path: the file; ``-`` is standard output.
        misuse: what the message says to do about a path that cannot be written.

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
        _refuse_special(path)  # before links are followed: /dev/stdout is a link without a target that has a name
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
    """Give an empty folder to fill, which replaces `folder` with all its content at the end if there was no error.

    Where the system supports it, the two are exchanged in one step, so that one of them is there at any time.

    Args:
        folder: the folder to write.

    Raises:
        OSError: when it cannot be written.
    """
    target = Path(os.path.realpath(folder))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
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
    """Exchange two folders in one step; return False if the system does not support it."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _replace_in_two_steps(draft: Path, target: Path, aside: Path) -> None:
    """Replace a folder by a finished one; if that fails, it stays as it was."""
    aside.mkdir()
    before = target.rename(aside / target.name)  # if we are killed here, `tidy` puts it back
    try:
        draft.rename(target)
    except OSError:
        before.rename(target)
        raise


# -- run folders -----------------------------------------------------------------------------------------------------


def refuse_run_folder(path: Path, advice: str = "Choose another --out.") -> None:
    """Raise UsageError for a path in a run folder, where only trainings and sweeps may write.

    Args:
        path: where somebody wants to write.
        advice: what the message says to do instead.

    """
    for place in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
        for folder in (place, *place.parents):
            if is_run_folder(folder):
                raise UsageError(
                    f"{shown_path(path)}: lies in the run folder {shown_path(folder)}, where nothing else may be "
                    f"written; nothing was changed. {advice}"
                )


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a results store, or models or logs of a training that was stopped before it made one."""
    if os.path.lexists(folder / "results.sqlite"):
        return True
    names = rf"{KEY}(\.partial)?\.safetensors|{KEY}\.jsonl"
    return any(re.fullmatch(names, name) for part in ("checkpoints", "logs") for name in _names(folder / part))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
