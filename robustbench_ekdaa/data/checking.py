"""Checking that the data set that a registered function returned is what `Dataset` says."""

from __future__ import annotations

import torch

from ..errors import UsageError, shown
from .arrays import PLAIN_TEXT, is_plain_text
from .dataset import Dataset, Split


def check_dataset(made: object, where: str) -> Dataset:
    """Return the data set if it is right.

    Args:
        made: what the function returned.
        where: what errors call it.

    Raises:
        UsageError: naming the split and the reason, for anything that is wrong.
    """
    if not isinstance(made, Dataset):
        raise UsageError(f"{where}: its function must return a Dataset (got {type(made).__name__})")
    for what, text in (("title", made.title), *(("classes", name) for name in made.classes)):
        if not is_plain_text(text):
            raise UsageError(f"{where}: {what}: {shown(text)} is no name. {PLAIN_TEXT}")
    if len(made.classes) < 2 or len(set(made.classes)) < len(made.classes):
        raise UsageError(f"{where}: classes must be two different names or more (got {shown(made.classes)})")
    if not isinstance(made.fingerprint, str) or not made.fingerprint:
        raise UsageError(f"{where}: has no fingerprint. `dataset_from_arrays` makes one.")
    for half, split in (("train", made.train), ("test", made.test)):
        _check_split(split, len(made.classes), f"{where}: {half}")
    if made.train.images.shape[1:] != made.test.images.shape[1:]:
        shapes = tuple(made.train.images.shape[1:]), tuple(made.test.images.shape[1:])
        raise UsageError(f"{where}: train and test images differ in shape ({shapes[0]} and {shapes[1]})")
    return made


def _check_split(split: object, classes: int, where: str) -> None:
    tensors = (split.images, split.labels) if isinstance(split, Split) else ()
    if not tensors or not all(isinstance(each, torch.Tensor) and each.device.type == "cpu" for each in tensors):
        raise UsageError(
            f"{where} must be a Split of tensors on the CPU. `dataset_from_arrays` makes a data set of NumPy arrays."
        )
    images, labels = tensors
    if images.dtype != torch.float32 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise UsageError(f"{where} images must be float32 (N, C, H, W), C 1 or 3 (got {_kind(images)})")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise UsageError(f"{where} labels must be int64 ({len(images)},) (got {_kind(labels)})")
    if not (images.min() >= 0 and images.max() <= 1):
        raise UsageError(f"{where} images must be in [0, 1]. Divide by 255.")
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(f"{where} labels must be 0 to {classes - 1}, one per class name")


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
