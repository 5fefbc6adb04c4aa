"""The classes of data sets: images in [0, 1], labels, class names, and a fingerprint of the pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..computing import ordinary_torch


@dataclass(frozen=True)
class Split:
    """The training or the test half of a data set.

    Attributes:
        images: float32 in [0, 1], shape (N, C, H, W), C is 1 or 3.
        labels: int64 in [0, K), shape (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def copy(self) -> Split:
        """Return a split with copies of the tensors."""
        return Split(self.images.detach().clone(), self.labels.clone())


@dataclass(frozen=True)
class Dataset:
    """A whole data set.

    Attributes:
        name: what cards and the command line call it.
        title: what figures and reports call it.
        train: the images to learn from.
        test: the images to attack; never used to choose a recipe.
        classes: the K class names.
        fingerprint: hex SHA-256 of pixels, labels and number of classes; it is part of every result's identity.
        source: by what any process can load it where that is not its name: FILE.py:FUNCTION.
    """

    name: str
    title: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    source: str | None = None

    @property
    def loaded_by(self) -> str:
        """By what any process can load it: its source, or else its name."""
        return self.source or self.name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def copy(self) -> Dataset:
        """Return a data set with copies of the tensors."""
        return replace(self, train=self.train.copy(), test=self.test.copy())

    @property
    @ordinary_torch(gradients=False)
    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training images, two float32 tensors of shape (C,)."""
        mean, deviation = self._statistics
        return mean.clone(), deviation.clone()

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        # In parts, because a whole data set in float64 would need twice the memory.
        parts = [self.train.images[start : start + 512] for start in range(0, len(self.train), 512)]
        pixels = self.train.images[:, 0].numel()
        mean = torch.stack([part.double().sum((0, 2, 3)) for part in parts]).sum(0) / pixels
        squares = [(part.double() - mean[:, None, None]).square().sum((0, 2, 3)) for part in parts]
        deviation = (torch.stack(squares).sum(0) / pixels).sqrt()
        return mean.float(), deviation.clamp_min(1e-3).float()
