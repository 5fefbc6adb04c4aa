"""Choosing images to hold out, with the same share of every class."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..randomness import permutation


def hold_out(
    labels: NDArray[np.int64], count: int, generator: torch.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose ``count`` of N images at random, from each class in proportion to its size (to within one image).

    Each class is shuffled and laid out evenly over [0, 1); the images below a common level are chosen.

    Args:
        labels: the images' classes, shape (N,).
        count: how many to hold out, 0 to N.
        generator: draws the choice.

    Returns:
        The positions kept and the positions held out, each ascending.
    """
    shuffled = permutation(len(labels), generator).numpy()
    level = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        level[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = shuffled[np.argsort(level[shuffled], kind="stable")]
    return np.sort(order[count:]), np.sort(order[:count])
