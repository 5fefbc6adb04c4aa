"""What a data set is here: images in [0, 1], labels, class names, and a fingerprint of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


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


@dataclass(frozen=True)
class Dataset:
    """A whole data set.

    Attributes:
        name: what cards and the command line call it.
        title: what figures and reports call it.
        train: the images to learn from.
        test: the images to attack; never used to choose a recipe.
        classes: the K class names.
        fingerprint: hex SHA-256 of the arrays; it is part of every result's identity.
    """

    name: str
    title: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @cached_property
    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training images, two tensors of shape (C,)."""
        flat = self.train.images.transpose(0, 1).flatten(1)
        mean = torch.stack([channel.double().mean() for channel in flat])
        deviation = torch.stack([channel.double().std(correction=0) for channel in flat])
        return mean.float(), deviation.clamp_min(1e-3).float()
