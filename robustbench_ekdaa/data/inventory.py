"""Which data sets there are, where they are and how large, without loading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cards import shown_path
from ..errors import UsageError
from ..registry import DATASETS
from .archive import read_archive, summarise
from .arrays import KNOWN_TITLES
from .builtin import DIGITS_IMAGES, DIGITS_TEST_IMAGES, DIGITS_TITLE
from .loading import dataset_names
from .location import archive_path, data_folder, imported_names
from .published import PUBLISHED


@dataclass(frozen=True)
class DatasetStatus:
    """What is known about a data set without loading it; None for what only loading would show.

    Attributes:
        name: what cards and the command line call it.
        title: what figures call it.
        where: "embedded", "registered", the file or folder, or how to get it.
        here: whether it can be loaded now.
        train: number of training images.
        test: number of test images.
        image_shape: (channels, height, width).
        classes: number of classes.
    """

    name: str
    title: str
    where: str
    here: bool
    train: int | None = None
    test: int | None = None
    image_shape: tuple[int, int, int] | None = None
    classes: int | None = None


def status() -> list[DatasetStatus]:
    """Return the status of every data set, sorted by name."""
    return [dataset_status(name) for name in dataset_names()]


def dataset_status(name: str) -> DatasetStatus:
    """Return the status of one data set; ``where`` says it if an archive is damaged."""
    try:
        return _status(name, imported_names())
    except UsageError as error:  # the folder cannot be read; data sets that are not in it can be used
        if name in PUBLISHED:
            return DatasetStatus(name, PUBLISHED[name].title, f"cannot be used: {error}", False)
        return _status(name, [])


def _status(name: str, imported: Sequence[str]) -> DatasetStatus:
    published = PUBLISHED.get(name)
    if name == "digits":
        train = DIGITS_IMAGES - DIGITS_TEST_IMAGES
        return DatasetStatus(name, DIGITS_TITLE, "embedded", True, train, DIGITS_TEST_IMAGES, (1, 8, 8), 10)
    if name in imported and (published or name not in DATASETS.names()):
        return _archive_status(name, archive_path(name))
    if published is None:
        return DatasetStatus(name, name, "registered", True)
    here = published.is_in(data_folder())
    place = shown_path(data_folder() / published.files[0]) if here else f"not here: robustbench-ekdaa data fetch {name}"
    facts = (published.train, published.test, published.image_shape, len(published.classes))
    return DatasetStatus(name, published.title, place, here, *facts)


def _archive_status(name: str, path: Path) -> DatasetStatus:
    usual = PUBLISHED.get(name)
    try:
        summary = summarise(path, usual_classes=usual.classes if usual else ())
        title = summary.title or (_known_title(path, usual.classes) if usual else None)
    except UsageError as error:
        return DatasetStatus(name, name, f"cannot be used: {error}", False)
    title = title or (usual.title if usual else name)
    place = shown_path(path)
    return DatasetStatus(name, title, place, True, summary.train, summary.test, summary.image_shape, summary.classes)


def _known_title(path: Path, classes: tuple[str, ...]) -> str | None:
    """Return the title of an archive without one, found by its pixels: it may be another data set of that name."""
    return KNOWN_TITLES.get(read_archive(path, usual_classes=classes).fingerprint())
