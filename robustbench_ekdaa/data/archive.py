"""Reading NPZ archives from anywhere, with every check, and writing them whole or not at all.

An archive holds `train_images`, `train_labels`, `test_images` and `test_labels`, and may hold `classes` (the class
names) and `title` (what figures call the data set). Other keys are ignored. Nothing is ever unpickled.
"""

from __future__ import annotations

import math
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..cards import shown_path
from ..errors import UsageError
from ..files import clear_errors, tidy, whole_file
from ..memory import in_words, total_memory
from .arrays import Arrays, Pair, PixelShape, assemble, checked_labels, class_names, pixel_shape

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class ArchiveSummary:
    """What an archive holds, found without reading its pixels.

    Attributes:
        title: its title; None if it has none.
        train: number of training images.
        test: number of test images.
        image_shape: (channels, height, width).
        classes: number of classes.
    """

    title: str | None
    train: int
    test: int
    image_shape: tuple[int, int, int]
    classes: int


def read_archive(
    path: Path, *, usual_classes: Sequence[str] = (), test_share: float | None = None, seed: int = 0
) -> Arrays:
    """Read and check an archive.

    Args:
        path: the file.
        usual_classes: class names to use if the archive has none and its labels fit.
        test_share: share of the training images to hold out, for an archive without test images.
        seed: keys the choice of held-out images.

    Raises:
        UsageError: naming file, key and reason.
    """
    where = shown_path(path)
    with _opened(path) as archive:
        keys = _keys(archive)
        halves: dict[str, Pair | None] = {}
        for half, wanted in (("train", KEYS[:2]), ("test", KEYS[2:])):
            if half == "test" and test_share is not None and not keys & set(wanted):
                halves[half] = None
                continue
            _require(keys, wanted, where)
            halves[half] = (_member(archive, wanted[0], where), _member(archive, wanted[1], where))
        classes, title = _names(archive, where), _title(archive, where)
    train = halves["train"]
    assert train is not None
    return assemble(
        where,
        train,
        halves["test"],
        classes=classes,
        usual_classes=usual_classes,
        title=title,
        test_share=test_share,
        seed=seed,
    )


def read_members(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of any NPZ archive, by name; raises UsageError naming file, key and reason."""
    where = shown_path(path)
    with _opened(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        return {name: _member(archive, name, where) for name in names}


def summarise(path: Path, *, usual_classes: Sequence[str] = ()) -> ArchiveSummary:
    """Return what an archive holds, from its labels and the headers of its images.

    Args:
        path: the file.
        usual_classes: class names to use if the archive has none and its labels fit.

    Raises:
        UsageError: as `read_archive` does.
    """
    where = shown_path(path)
    with _opened(path) as archive:
        _require(_keys(archive), KEYS, where)
        train, test = (_pixels(archive, key, where) for key in ("train_images", "test_images"))
        halves = [checked_labels(_member(archive, key, where), f"{where}: {key}") for key in KEYS if "labels" in key]
        classes = class_names(where, np.concatenate(halves), _names(archive, where), tuple(usual_classes))
        size = (train.channels, train.height, train.width)
        return ArchiveSummary(_title(archive, where), train.number, test.number, size, len(classes))


def write_archive(path: Path, arrays: Arrays) -> None:
    """Write an archive: afterwards ``path`` is the whole new file, or what it was before.

    Args:
        path: the file.
        arrays: what to write.

    Raises:
        WorkFailed: when it cannot be written, such as on a full or read-only disk.
    """
    facts: dict[str, Any] = {key: getattr(arrays, key) for key in KEYS}
    facts["classes"] = np.array(arrays.classes)
    if arrays.title:
        facts["title"] = np.array(arrays.title)
    kept = "nothing was changed. Free some space there, or choose another folder with $ROBUSTBENCH_EKDAA_DATA."
    tidy(path.parent, r"\..+\.npz\.[0-9a-f]{8}\.unfinished")
    with clear_errors(path, kept=kept), whole_file(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **facts)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    where = shown_path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device may never end
            raise UsageError(f"{where}: is no regular file. Copy what is in it to a file first.")
        archive = zipfile.ZipFile(path)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{where}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror or error})") from None
    except Exception:  # zipfile raises many kinds of errors for a file that is no zip file
        raise UsageError(f"{where}: not an NPZ archive (numpy.savez writes one), or damaged") from None
    with archive:
        if not all(name.isprintable() for name in archive.namelist()):  # they appear in messages of one line
            raise UsageError(f"{where}: the names in it are damaged. Make the file again.")
        yield archive


def _keys(archive: zipfile.ZipFile) -> set[str]:
    return {name.removesuffix(".npy") for name in archive.namelist()}


def _require(keys: set[str], wanted: Sequence[str], where: str) -> None:
    missing = [key for key in wanted if key not in keys]
    if missing:
        advice = " Add it, or import with a test share." if missing[0].startswith("test") else " Add it."
        found = ", ".join(sorted(keys)[:8]) or "nothing"
        raise UsageError(f"{where}: the key {missing[0]} is missing (found {found}).{advice}")


@contextmanager
def _reading(archive: zipfile.ZipFile, key: str, where: str) -> Iterator[IO[bytes]]:
    """Open one member; any error becomes a UsageError of one line, as a file from anywhere may be wrong in any way."""
    try:
        with archive.open(f"{key}.npy") as file:
            yield file
    except UsageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"{where}: {key}: damaged ({type(error).__name__}: {reason}). Make the file again.") from None


def _head(archive: zipfile.ZipFile, key: str, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with _reading(archive, key, where) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version](file)
        if dtype.hasobject:
            raise UsageError(
                f"{where}: {key}: holds pickled objects, which could run code and are never read. "
                "Save plain numbers, or text with dtype=str."
            )
        size = math.prod(shape) * dtype.itemsize
        if size != archive.getinfo(f"{key}.npy").file_size - file.tell():
            raise UsageError(
                f"{where}: {key}: damaged (an array of shape {tuple(shape)} of {dtype} has other than {size:,} bytes). "
                "Make the file again."
            )
        memory = total_memory()
        if memory is not None and size > memory:
            raise UsageError(
                f"{where}: {key}: is {in_words(size)} large, and this machine has {in_words(memory)} of memory. "
                "Make it smaller."
            )
        return tuple(shape), dtype


def _pixels(archive: zipfile.ZipFile, key: str, where: str) -> PixelShape:
    return pixel_shape(_head(archive, key, where)[0], f"{where}: {key}")


def _member(archive: zipfile.ZipFile, key: str, where: str) -> NDArray[Any]:
    _head(archive, key, where)
    with _reading(archive, key, where) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _names(archive: zipfile.ZipFile, where: str) -> tuple[str, ...]:
    if "classes" not in _keys(archive):
        return ()
    names = _member(archive, "classes", where)
    if names.dtype.kind != "U" or names.ndim != 1 or not len(names):
        raise UsageError(f"{where}: classes: must be a list of texts (got {names.dtype} of shape {names.shape})")
    return tuple(str(name) for name in names)


def _title(archive: zipfile.ZipFile, where: str) -> str | None:
    if "title" not in _keys(archive):
        return None
    title = _member(archive, "title", where)
    if title.dtype.kind != "U" or title.size != 1:
        raise UsageError(f"{where}: title: must be one text (got {title.dtype} of shape {title.shape})")
    return str(title.item()) or None
