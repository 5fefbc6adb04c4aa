"""Filling the data folder: importing the user's own data sets and fetching the published ones."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ..arguments import share, whole
from ..cards import shown_path
from ..errors import UsageError, unknown_name
from ..names import as_spelled
from ..progress import Progress, Silent
from ..registry import DATASETS
from .archive import read_archive, write_archive
from .arrays import Arrays, plain_title
from .dataset import Dataset
from .folders import read_folder
from .inventory import DatasetStatus, dataset_status
from .loading import dataset_names
from .location import archive_path, data_folder
from .published import PUBLISHED, Published, download_published, read_published

LARGEST_SIDE = 10_000  # pixels to resize pictures to


def import_dataset(
    source: Path,
    name: str,
    *,
    title: str | None = None,
    test_share: float | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    replace: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Check an NPZ archive or an image folder and store it in the data folder as ``NAME.npz``.

    Args:
        source: the archive or the folder.
        name: what cards and the command line will call it.
        title: what figures will call it (default: the source's own title, or the name).
        test_share: share of each class to hold out as test images, for a source without any.
        size: (height, width) in pixels to resize every picture of a folder to.
        seed: keys the choice of held-out images.
        replace: allow an archive of that name to be replaced.
        progress: shows how far the import is.

    Raises:
        UsageError: naming file, key or picture, and reason; or when the name cannot be used.
        WorkFailed: when the archive cannot be written; then nothing has changed.
    """
    path, seed = archive_path(name), whole("seed", seed)
    if test_share is not None:
        test_share = share("test share", test_share, most=1)
    if size is not None:
        size = _side("height", size[0]), _side("width", size[1])
    if name in DATASETS.names() and name not in PUBLISHED:
        raise UsageError(f"{name}: is the name of a data set that needs no import. Choose another name.")
    if os.path.lexists(path) and not replace:
        raise UsageError(f"{name}: {shown_path(path)} is there already. Choose another name, or ask to replace it.")
    published = PUBLISHED.get(name)
    arrays = _read(Path(source), published.classes if published else (), test_share, size, seed, progress)
    if title:
        arrays = dataclasses.replace(arrays, title=plain_title(title, name))
    dataset = arrays.dataset(name, published.title if published else None)
    stored_title = None if dataset.title == name else dataset.title
    task = (progress or Silent()).task(f"writing {name}", 1)
    write_archive(path, dataclasses.replace(arrays, title=stored_title))
    task.advance()
    return dataset


def _side(what: str, length: int) -> int:
    return whole(f"size: {what}", length, least=1, most=LARGEST_SIDE)


def fetch_dataset(name: str) -> DatasetStatus:
    """Download a published data set into the data folder, checksums verified, and read it once to be sure.

    Nothing is done if it is there and can be read; damaged and missing files are fetched again. The download's bars are
    shown on standard error.

    Args:
        name: the data set's name.

    Raises:
        UsageError: for a name that has nothing to download, or of which an imported archive would be read first.
        WorkFailed: when network, checksum or disk fails.
    """
    name = as_spelled("data set", name, dataset_names())
    if name not in dataset_names():
        raise unknown_name("data set", name, PUBLISHED, DATASETS.listing)
    if name not in PUBLISHED:
        raise UsageError(f"{name}: has nothing to download (only {', '.join(sorted(PUBLISHED))} have)")
    if os.path.lexists(archive_path(name)):
        raise UsageError(
            f"{name}: {shown_path(archive_path(name))} is read first. Move it away to use the published files."
        )
    published = PUBLISHED[name]
    if not _is_whole(published):
        download_published(published, data_folder())
        read_published(published, data_folder())
    return dataset_status(name)


def _is_whole(published: Published) -> bool:
    """Whether a published data set can be read; damaged files are removed, as a download would keep them."""
    if not published.is_in(data_folder()):
        return False
    try:
        read_published(published, data_folder())
    except UsageError:
        for file in published.files:
            (data_folder() / file).unlink()
        return False
    return True


def _read(
    source: Path,
    usual_classes: tuple[str, ...],
    test_share: float | None,
    size: tuple[int, int] | None,
    seed: int,
    progress: Progress | None,
) -> Arrays:
    if source.is_dir():
        return read_folder(source, size=size, test_share=test_share, seed=seed, progress=progress)
    if size is not None:
        raise UsageError(f"{shown_path(source)}: only the pictures of a folder are resized, not an archive")
    return read_archive(source, usual_classes=usual_classes, test_share=test_share, seed=seed)
