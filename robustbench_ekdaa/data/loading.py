"""Data sets by name: registered ones, the published ones, and the user's own archives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..cards import NAME
from ..computing import ordinary_torch
from ..errors import UsageError, unknown_name
from ..files import Stamp, stamp
from ..progress import Progress, Silent
from ..randomness import keyed_generator, permutation
from ..registry import DATASETS, is_file_reference
from .archive import read_archive
from .dataset import Dataset, Split
from .location import archive_path, data_folder, imported_names


def dataset_names() -> list[str]:
    """Return all names that `load_dataset` knows: registered and imported ones, sorted."""
    return sorted({*DATASETS, *imported_names()})


def load_dataset(name: str, *, limit: int | None = None, progress: Progress | None = None) -> Dataset:
    """Load a data set into tensors of its own.

    Args:
        name: one of `dataset_names`, or FILE.py:FUNCTION with a function that returns a `Dataset`.
        limit: keep only this many images of each split: the first of a fixed random order, so that a smaller limit
            gives a part of what a larger one gives. A limited data set has a fingerprint of its own.
        progress: shows that something is being read.

    Raises:
        UsageError: for an unknown name, or data that are not on this computer, damaged or of a wrong form.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit: must be at least 1 (got {limit})")
    with ordinary_torch(gradients=False):
        dataset = shared_dataset(name, progress=progress)
        return dataset.copy() if limit is None else _limited(dataset, limit)


@ordinary_torch(gradients=False)
def shared_dataset(name: str, *, progress: Progress | None = None) -> Dataset:
    """Return a data set as this process keeps it (the last two), for code that never writes to its tensors.

    A sweep asks for it once a job; what users get is a copy, or a change of theirs would be in all later results.
    """
    factory = _factory(name)
    task = (progress or Silent()).task(f"reading {name}", 1)
    archive = stamp(archive_path(name)) if NAME.fullmatch(name) else None
    dataset = _load(name, factory, data_folder().absolute(), archive)
    task.advance()
    return dataset


def load_split(name: str, split: str = "test", limit: int | None = None) -> Split:
    """Load the ``train`` or ``test`` split of a data set; see `load_dataset` for ``limit``."""
    if split not in ("train", "test"):
        raise unknown_name("split", split, ("train", "test"))
    with ordinary_torch(gradients=False):
        whole = shared_dataset(name)
        chosen = whole.train if split == "train" else whole.test
        return chosen.copy() if limit is None else _first(chosen, limit, split)


def _factory(name: str) -> Callable[..., Any] | None:
    """Return what makes the data set, or None for an archive of the user's."""
    if name in DATASETS.names() or is_file_reference(name):
        return DATASETS.get(name)
    if name in imported_names():
        return None
    raise unknown_name("data set", name, dataset_names(), DATASETS.listing)


@lru_cache(maxsize=2)
def _load(name: str, factory: Callable[..., Any] | None, folder: Path, archive: Stamp | None) -> Dataset:
    if factory is None:
        return read_archive(folder / f"{name}.npz").dataset(name)
    made = _checked(name, factory())
    made = made.copy()  # the function may keep its tensors, and write to them
    return made if is_file_reference(name) else replace(made, name=name)


def _checked(name: str, made: object) -> Dataset:
    """Hold what somebody's function returned to what `Dataset` promises."""
    if not isinstance(made, Dataset):
        raise UsageError(f"data set {name!r}: its function must return a Dataset (got {type(made).__name__})")
    for half, split in (("train", made.train), ("test", made.test)):
        images, labels = split.images, split.labels
        if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
            found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            raise UsageError(f"data set {name!r}: {half} images must be float32 (N, C, H, W), C 1 or 3 (got {found})")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            found = f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
            raise UsageError(f"data set {name!r}: {half} labels must be int64 ({len(images)},) (got {found})")
        if not (images.min() >= 0 and images.max() <= 1):
            raise UsageError(f"data set {name!r}: {half} images must be in [0, 1]. Divide by 255.")
        if labels.min() < 0 or labels.max() >= len(made.classes):
            raise UsageError(
                f"data set {name!r}: {half} labels must be 0 to {len(made.classes) - 1}, one per class name"
            )
    return made


def _limited(dataset: Dataset, limit: int) -> Dataset:
    if limit >= max(len(dataset.train), len(dataset.test)):
        return dataset.copy()
    fingerprint = hashlib.sha256(f"{dataset.fingerprint} limited to {limit}".encode()).hexdigest()
    train, test = _first(dataset.train, limit, "train"), _first(dataset.test, limit, "test")
    return replace(dataset, train=train, test=test, fingerprint=fingerprint)


def _first(split: Split, limit: int, half: str) -> Split:
    if limit >= len(split):
        return split.copy()
    chosen = permutation(len(split), keyed_generator(0, "limit", half))[:limit]
    return Split(split.images[chosen], split.labels[chosen])
