"""Checking pixels and labels from any source, and bringing them into one form."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UsageError, shown
from ..randomness import keyed_generator
from .dataset import Dataset, Split
from .hold_out import hold_out

LONGEST_TEXT = 200
PLAIN_TEXT = f"Give one line of UTF-8 text, of {LONGEST_TEXT} letters at most, without control characters."
MINIMUM_SIDE = 4  # of smaller images, a shape does not say which of its axes are the channels

Pair = tuple[NDArray[Any], NDArray[Any]]

# Archives under a data set's name that are not exactly that data set, by fingerprint: figures must say so.
KNOWN_TITLES = {
    "7360529612dbfe4725e5dfc20a217fdddaaafde47fec17b02859bb5f125e9f3b": "CIFAR-10 (JPEG)",
    "2fbcd24cbd813a4b8c03224fbbb6dd8596b906bc7e5cf1b985ccc2726fd62773": "SVHN (small part)",
}


@dataclass(frozen=True)
class Arrays:
    """A whole data set as checked arrays.

    Attributes:
        train_images: uint8, or float32 in [0, 1]; shape (N, H, W, C), C is 1 or 3.
        train_labels: int64 in [0, K), shape (N,).
        test_images: like ``train_images``.
        test_labels: like ``train_labels``.
        classes: the K class names.
        title: what the source calls itself; None if it does not say it.
    """

    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    title: str | None = None

    def fingerprint(self) -> str:
        """Return the hex SHA-256 of the pixels, the labels and the number of classes.

        It does not depend on how a file stores them: compression, channel order, the labels' integer type.
        """
        digest = hashlib.sha256(f"{len(self.classes)} classes".encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{portable.dtype.str}{portable.shape}".encode())
            digest.update(portable.data)
        return digest.hexdigest()

    def dataset(self, name: str, usual_title: str | None = None) -> Dataset:
        """Return the data set as tensors.

        Args:
            name: what cards and the command line call it.
            usual_title: its title if the source has none (default: the name).

        """
        fingerprint = self.fingerprint()
        return Dataset(
            name=name,
            title=self.title or KNOWN_TITLES.get(fingerprint) or usual_title or name,
            train=Split(_tensor(self.train_images), torch.from_numpy(self.train_labels.copy())),
            test=Split(_tensor(self.test_images), torch.from_numpy(self.test_labels.copy())),
            classes=self.classes,
            fingerprint=fingerprint,
        )


def assemble(
    source: str,
    train: Pair,
    test: Pair | None,
    *,
    classes: Sequence[str] = (),
    usual_classes: Sequence[str] = (),
    title: str | None = None,
    test_share: float | None = None,
    seed: int = 0,
) -> Arrays:
    """Check images and labels and bring them into one form.

    Args:
        source: the file or factory they came from, for error messages.
        train: images and labels to learn from. Images are uint8, or floating point in [0, 1], of shape (N, H, W),
            (N, H, W, C) or (N, C, H, W); labels are integers of shape (N,) or (N, 1).
        test: images and labels to attack, or None to hold out ``test_share`` of ``train``.
        classes: the class names, if the source has them.
        usual_classes: names to use if the source has none and its labels fit.
        title: what the source calls itself.
        test_share: share of each class to hold out, between 0 and 1, when ``test`` is None.
        seed: keys the choice of held-out images.

    Raises:
        UsageError: naming source, array and reason, for anything that does not fit.
    """
    train_images, train_labels = _checked_pair(source, "train", train)
    if test is None:
        kept, held = _held_out(source, train_labels, test_share, seed)
        test_images, test_labels = train_images[held], train_labels[held]
        train_images, train_labels = train_images[kept], train_labels[kept]
    elif test_share is not None:
        raise UsageError(f"{source}: has test images of its own: leave the test share away")
    else:
        test_images, test_labels = _checked_pair(source, "test", test)
    _check_alike(source, train_images, test_images)
    names = class_names(source, np.concatenate((train_labels, test_labels)), tuple(classes), tuple(usual_classes))
    return Arrays(train_images, train_labels, test_images, test_labels, names, plain_title(title, source))


def dataset_from_arrays(
    name: str,
    train: Pair,
    test: Pair,
    *,
    classes: Sequence[str] = (),
    title: str | None = None,
) -> Dataset:
    """Check NumPy arrays and make a data set of them, as a function for `register_dataset` can do.

    Args:
        name: what cards and the command line call it.
        train: images and labels to learn from, in any form that an archive may have.
        test: images and labels to attack.
        classes: the class names (default: the labels).
        title: what figures call it (default: the name).

    Raises:
        UsageError: naming array and reason, for anything that does not fit.
    """
    return assemble(name, train, test, classes=classes, title=title).dataset(name)


def plain_title(title: str | None, source: str) -> str | None:
    """Return a title as one line, None for a blank one; raises UsageError for what cannot be a title."""
    line = " ".join(title.split()) if isinstance(title, str) else title
    if not line and (line is None or isinstance(line, str)):
        return None
    if is_plain_text(line):
        return line
    raise UsageError(f"{source}: title: {shown(title)} is none. {PLAIN_TEXT}")


class PixelShape(NamedTuple):
    """The shape of images with channels last, (N, H, W, C)."""

    number: int
    height: int
    width: int
    channels: int


def pixel_shape(shape: tuple[int, ...], where: str) -> PixelShape:
    """Return the shape of images as (N, H, W, C).

    Args:
        shape: as they are stored: (N, H, W), (N, H, W, C) or (N, C, H, W).
        where: what errors call the images.

    Raises:
        UsageError: for any other shape.
    """
    if len(shape) == 3 and min(shape[1:]) >= MINIMUM_SIDE:
        return PixelShape(*shape, 1)
    if len(shape) == 4 and shape[3] in (1, 3) and min(shape[1:3]) >= MINIMUM_SIDE:
        return PixelShape(*shape)
    if len(shape) == 4 and shape[1] in (1, 3) and min(shape[2:]) >= MINIMUM_SIDE:
        return PixelShape(shape[0], *shape[2:], shape[1])
    raise UsageError(
        f"{where}: the shape must be (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3 "
        f"and H and W at least {MINIMUM_SIDE} (got {shape})"
    )


def _checked_pair(source: str, half: str, pair: Pair) -> tuple[NDArray[Any], NDArray[np.int64]]:
    images = _checked_images(np.asarray(pair[0]), f"{source}: {half}_images")
    labels = checked_labels(np.asarray(pair[1]), f"{source}: {half}_labels")
    if len(images) != len(labels):
        raise UsageError(
            f"{source}: {half}_images and {half}_labels differ in number ({len(images)} and {len(labels)})"
        )
    return images, labels


def _checked_images(images: NDArray[Any], where: str) -> NDArray[Any]:
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UsageError(
            f"{where}: must be uint8 (0 to 255) or floating point in [0, 1] (got {images.dtype}). {_advice(images)}"
        )
    shape = pixel_shape(images.shape, where)
    if shape.number == 0:
        raise UsageError(f"{where}: holds no images")
    low, high = images.min(), images.max()
    if images.dtype == np.uint8 and high <= 1:
        raise UsageError(f"{where}: uint8 runs from 0 to 255, but no pixel is above 1. Multiply by 255.")
    if images.dtype != np.uint8:
        if not (low >= 0 and high <= 1):  # also true for NaN
            found = "NaN" if np.isnan(low) else f"{low:g} to {high:g}"
            raise UsageError(f"{where}: must be in [0, 1] (found {found}). Divide by 255, before any normalisation.")
        images = images.astype(np.float32)
    channels_first = images.ndim == 4 and images.shape[1:] != shape[1:]
    ordered = images.transpose(0, 2, 3, 1) if channels_first else images
    return np.ascontiguousarray(ordered).reshape(shape)


def _advice(images: NDArray[Any]) -> str:
    """Say how to convert pixels of another type without losing anything."""
    if images.dtype.kind not in "iub" or images.size == 0:
        return "Divide by the largest value a pixel can have, and store as float32."
    if images.max() <= 1:
        return "Convert with .astype('float32')."
    if images.min() >= 0 and images.max() <= 255:
        return "Convert with .astype('uint8')."
    most = 65535 if images.max() <= 65535 else "the largest value a pixel can have"
    return f"Divide by {most} and convert with .astype('float32'): .astype('uint8') would wrap around."


def checked_labels(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Return labels as int64 of shape (N,).

    Args:
        labels: integers from 0 up, of shape (N,) or (N, 1).
        where: what errors call the labels.

    Raises:
        UsageError: for any other labels.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UsageError(
            f"{where}: must be one number per image, of shape (N,) (got {labels.shape}). From one-hot take .argmax(1)."
        )
    if labels.dtype.kind not in "iu":
        raise UsageError(f"{where}: must be integers (got {labels.dtype}). Convert with .astype('int64').")
    numbers = labels.astype(np.int64)
    if len(numbers) and numbers.min() < 0:
        raise UsageError(f"{where}: classes are numbered from 0 (found {numbers.min()})")
    return numbers


def _held_out(
    source: str, labels: NDArray[np.int64], test_share: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if test_share is None:
        raise UsageError(f"{source}: has no test images. Add them, or give a test share such as 0.2.")
    if not 0 < test_share < 1:
        raise UsageError(f"test share: must be between 0 and 1 (got {test_share:g})")
    count = round(test_share * len(labels))
    if not 0 < count < len(labels):
        raise UsageError(f"{source}: a test share of {test_share:g} of {len(labels)} images leaves one side empty")
    return hold_out(labels, count, keyed_generator(seed, "hold out"))


def _check_alike(source: str, train: NDArray[Any], test: NDArray[Any]) -> None:
    if train.shape[1:] != test.shape[1:]:
        raise UsageError(
            f"{source}: train_images and test_images differ in height, width or channels "
            f"({_times(train.shape[1:])} and {_times(test.shape[1:])})"
        )
    if train.dtype != test.dtype:
        raise UsageError(f"{source}: train_images are {train.dtype} but test_images {test.dtype}: store both alike")


def class_names(
    source: str, labels: NDArray[np.int64], given: tuple[str, ...], usual: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names given, else the usual ones if the labels fit, else the labels if none is left out.

    Args:
        source: the file or factory, for error messages.
        labels: all labels of both halves, 0 or more.
        given: the source's own class names; there may be more names than classes that occur.
        usual: names of the classes that a source of this name usually has.

    Raises:
        UsageError: when the labels do not fit the names given, leave a number out, or are of one class only.
    """
    present = np.unique(labels)
    highest = int(present[-1])
    names = given or (usual if highest < len(usual) else ())
    if names and highest >= len(names):
        raise UsageError(
            f"{source}: labels run to {highest}, but `classes` has {len(names)} names (0 to {len(names) - 1})"
        )
    if not names and len(present) <= highest:
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise UsageError(
            f"{source}: labels run to {highest}, but {missing} never occurs. "
            f"Number the {len(present)} classes from 0 to {len(present) - 1}, or name all {highest + 1} in `classes`."
        )
    names = names or tuple(str(label) for label in range(highest + 1))
    for name in names:
        if not is_plain_text(name):
            raise UsageError(f"{source}: classes: {shown(name)} is no name. {PLAIN_TEXT}")
    if len(names) < 2:
        raise UsageError(f"{source}: has one class only; at least two are needed")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{source}: classes: {twice!r} is there twice")
    return names


def is_plain_text(text: object) -> bool:
    """Whether a text can be a name or title in tables, figures and files: see `PLAIN_TEXT`."""
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST_TEXT or len(text) > LONGEST_TEXT:
        return False
    return all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)


def _tensor(images: NDArray[Any]) -> torch.Tensor:
    """Return (N, H, W, C) pixels as float32 (N, C, H, W), without a further array of that size."""
    count, height, width, channels = images.shape
    tensor = torch.empty((count, channels, height, width), dtype=torch.float32, device="cpu")
    tensor.copy_(torch.from_numpy(images).permute(0, 3, 1, 2))
    return tensor.div_(255) if images.dtype == np.uint8 else tensor
