"""Files: written whole or not at all, read with distrust, known by digests. Nothing else in the package does these.

A new file is made in a private folder beside its destination and renamed into place. The folder is made under a name
nobody can guess, so no link can be planted in it; and it is locked for as long as its process lives, so that `tidy` can
tell the leftovers of killed processes from work in progress.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .errors import UsageError, WorkFailed

if TYPE_CHECKING:
    from torch import Tensor

STANDARD_OUTPUT = "-"  # what an --out is called that is no file
FACTS = "robustbench_ekdaa"  # the entry of a safetensors header that holds the facts, as JSON
ROOM = re.compile(r"\.robustbench-ekdaa\.[0-9a-f]{16}\.tmp")
KEY = "[0-9a-f]{16}"
Stamp = tuple[int, int, int]


def shown_path(path: Path) -> str:
    """Return a path as short as it can be said from the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder is gone
        return str(path)


# -- writing ---------------------------------------------------------------------------------------------------------


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
    with _private_folder(path.parent) as room:
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
    with _private_folder(target.parent) as room:
        draft = room / "folder"
        draft.mkdir()
        yield draft
        if not os.path.lexists(target):
            draft.rename(target)
        elif not _exchange(draft, target):
            _replace_in_two_steps(draft, target, room / "before")


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


@contextmanager
def _private_folder(parent: Path) -> Iterator[Path]:
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
        if ROOM.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
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
        for before in (room / "before").glob("*"):
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


# -- tensors ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorFile:
    """What a safetensors file holds.

    Attributes:
        tensors: by name, on the CPU.
        facts: what this tool wrote beside them, as plain data; None for a file of another tool. Under "digest" there is
            the digest of the whole file, and it was found right; files of early releases have none.
        header: the other entries of the header's metadata.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any] | None
    header: dict[str, str]


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Write tensors and JSON-like facts to a safetensors file, sealed by a digest of all its bytes.

    Args:
        path: the file; see `whole_file`.
        tensors: by name; they may share memory, and lie on any device.
        facts: whatever JSON can hold, but no "digest".

    Returns:
        the file's digest, 64 hex digits; among the facts that are read it is the "digest".

    Raises:
        OSError: when it cannot be written.
        TypeError: for facts that JSON cannot hold, and for what is no tensor.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    mark = secrets.token_hex(32)  # stands where the digest will, and nowhere else
    text = json.dumps({**facts, "digest": mark}, sort_keys=True)
    with whole_file(path) as draft:
        try:
            save_file(storable(tensors), draft, metadata={FACTS: text})
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from None
        place = _place(draft, mark)
        digest = _digest(draft, place)
        with draft.open("r+b") as file:
            file.seek(place)
            file.write(digest.encode())
    return digest


def storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors takes them: dense and contiguous on the CPU, and no two in the same memory.

    Raises:
        TypeError: naming what is no tensor by a name, or a tensor of a kind that no file can hold.
    """
    import torch

    apart: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name!r}: must be a tensor with a text as name (got {type(tensor).__name__})")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype == torch.complex128 or tensor.is_meta:
            raise TypeError(f"{name}: a file cannot hold such a tensor ({tensor.dtype}, {tensor.layout})")
        whole = tensor.detach().cpu().contiguous()
        if whole.untyped_storage().data_ptr() in taken:
            whole = whole.clone()
        taken.add(whole.untyped_storage().data_ptr())
        apart[name] = whole
    return apart


def _place(path: Path, digest: str) -> int:
    """Return where in a safetensors file, counted in bytes, a digest stands; -1 if it does not, or not only once."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 100_000_000))
    return 8 + header.index(digest.encode()) if header.count(digest.encode()) == 1 else -1


def _digest(path: Path, place: int) -> str:
    """Return the SHA-256 of a file whose 64 bytes at `place` are read as zeros."""
    with path.open("rb") as file:
        found = hashlib.sha256(file.read(place) + b"0" * 64)
        file.seek(place + 64)
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def read_tensors(path: Path, advice: str = "Remove it and run again.") -> TensorFile:
    """Read a safetensors file, of this or another tool; nothing is ever unpickled.

    Args:
        path: the file.
        advice: what a message says is to be done with a damaged file.

    Raises:
        UsageError: naming the file and the reason, for one that is missing, damaged, or not what its digest says.
    """
    from safetensors import safe_open

    where = shown_path(path)
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise UsageError(f"{where}: is not a regular file")
        # To open it here says more of what it may not read than the library does, which reads no names but UTF-8 ones.
        with path.open("rb") as opened, safe_open(_utf_8(opened, path), framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        facts = _facts(header)
        if facts is not None and "digest" in facts:
            place = _place(path, str(facts["digest"]))
            if place < 0 or _digest(path, place) != facts["digest"]:
                if path.stat().st_ino != before.st_ino:  # it was replaced while it was read
                    return read_tensors(path, advice)
                raise ValueError("its content is not what was written")
    except FileNotFoundError:
        raise UsageError(f"{where}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror or error})") from None
    except UsageError:
        raise
    except Exception as error:  # a damaged file can be wrong in any way
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UsageError(f"{where}: is damaged ({reason}). {advice}".rstrip()) from None
    return TensorFile(tensors, facts, header)


def _utf_8(opened: IO[bytes], path: Path) -> str:
    """Return a name in UTF-8 for an open file: its own, or that of its descriptor."""
    name = str(path)
    return name if name == name.encode("utf-8", "replace").decode("utf-8") else f"/dev/fd/{opened.fileno()}"


def _facts(header: dict[str, str]) -> dict[str, Any] | None:
    """Take this tool's facts out of a header; None if there are none."""
    if FACTS not in header:
        return None
    try:
        facts = json.loads(header.pop(FACTS))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise ValueError(f"{FACTS}: the header's entry must be a JSON object")
    return facts


# -- what somebody names ---------------------------------------------------------------------------------------------

NO_FILES = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


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
