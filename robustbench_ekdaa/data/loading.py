"""Loading data sets by name: registered ones, published ones, and the user's own archives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..arguments import whole
from ..computing import ordinary_torch
from ..errors import UsageError, WorkFailed, shown, unknown_name
from ..files import Stamp, stamp
from ..names import as_spelled
from ..progress import Progress, Silent
from ..randomness import keyed_generator, permutation
from ..registry import DATASETS, is_file_reference
from .archive import read_archive
from .checking import check_dataset
from .dataset import Dataset, Split
from .location import archive_path, check_name, data_folder, imported_names
from .published import PUBLISHED


def dataset_names() -> list[str]:
    """Return all names that `load_dataset` knows: registered and imported ones, sorted."""
    try:
        imported = imported_names()
    except UsageError:  # the folder cannot be read; all other data sets can be used
        imported = []
    return sorted({*DATASETS, *imported})


def load_dataset(name: str, *, limit: int | None = None, progress: Progress | None = None) -> Dataset:
    """Load a data set into tensors of its own.

    Args:
        name: one of `dataset_names`, or FILE.py:FUNCTION with a function that returns a `Dataset`.
        limit: keep only this many images of each split, the first ones in a fixed random order, so that a smaller limit
            gives a part of what a larger one gives. A limited data set has its own fingerprint.
        progress: shows that something is being read.

    Raises:
        UsageError: for an unknown name, or data that are not on this computer, damaged or of a wrong form.
    """
    if limit is not None:
        limit = whole("limit", limit, least=1)
    with ordinary_torch(gradients=False):
        dataset = shared_dataset(name, progress=progress)
        return dataset.copy() if limit is None else _limited(dataset, limit)


@ordinary_torch(gradients=False)
def shared_dataset(name: str, *, progress: Progress | None = None) -> Dataset:
    """Return a data set from this process's cache of two, for code that never writes to its tensors.

    Every job of a sweep calls this. Users get a copy instead, because a change of theirs would affect later results.

    Args:
        name: see `load_dataset`.
        progress: shows that something is being read.

    Raises:
        UsageError: as `load_dataset` does.
    """
    name = _known(name)
    factory = _factory(name)
    task = (progress or Silent()).task(f"reading {name}", 1)
    # The data set of a registered function is read once; one from an archive is read again when that has changed.
    in_archive = factory is None or (name in PUBLISHED and factory is DATASETS.builtin(name))
    place = (data_folder().absolute(), stamp(archive_path(name))) if in_archive else None
    dataset = _load(name, factory, place)
    task.advance()
    return dataset


def load_split(name: str, split: str = "test", limit: int | None = None) -> Split:
    """Load one split of a data set into tensors of its own.

    Args:
        name: see `load_dataset`.
        split: ``"train"`` or ``"test"``.
        limit: see `load_dataset`.

    Raises:
        UsageError: for an unknown split, and as `load_dataset` does.
    """
    if split not in ("train", "test"):
        raise unknown_name("split", split, ("train", "test"))
    if limit is not None:
        limit = whole("limit", limit, least=1)
    with ordinary_torch(gradients=False):
        dataset = shared_dataset(name)
        chosen = dataset.train if split == "train" else dataset.test
        return chosen.copy() if limit is None else _first(chosen, limit, split)


def _known(name: str) -> str:
    """Return the name as the data set has it, with a warning if its hyphens and underscores are others."""
    if not isinstance(name, str):
        raise UsageError(f"a data set is named by a text (got {shown(name)})")
    return name if is_file_reference(name) else as_spelled("data set", name, dataset_names())


def _factory(name: str) -> Callable[..., Any] | None:
    """Return the function that makes the data set, or None for an archive of the user."""
    if name in DATASETS.names() or is_file_reference(name):
        return DATASETS.get(name)
    if name in imported_names():
        return None
    raise unknown_name("data set", name, dataset_names(), DATASETS.listing)


@lru_cache(maxsize=2)
def _load(name: str, factory: Callable[..., Any] | None, place: tuple[Path, Stamp | None] | None) -> Dataset:
    if factory is None:
        assert place is not None
        return replace(read_archive(place[0] / f"{name}.npz").dataset(name), source=name)
    made = check_dataset(_made(name, factory), f"data set {shown(name)}")
    made = replace(made.copy(), source=name)  # a copy, because the function may keep its tensors and write to them
    if not is_file_reference(name):
        return replace(made, name=name)
    check_name(made.name)
    return made


def _made(name: str, factory: Callable[..., Any]) -> object:
    try:
        return factory()
    except (UsageError, WorkFailed):
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise UsageError(f"data set {shown(name)}: its function failed ({type(error).__name__}: {error})") from error


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
