"""How sure a number is: Wilson's interval for one share, and a bootstrap over images and training seeds.

The bootstrap is paired: every model meets the same drawn images and the same drawn seeds, so that differences between
models keep what the models share. All draws come from a generator that the caller makes from a key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..cards import content_hash
from .metrics import Floats, share

DRAWS = 2000


def keyed(*key: int | str) -> np.random.Generator:
    """Return a generator whose stream depends on the key alone."""
    return np.random.default_rng(int(content_hash(list(key)), 16))


def wilson_interval(count: ArrayLike, total: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval for a share count / total (Wilson, J. Amer. Statist. Assoc. 22, 1927).

    Args:
        count: successes, (...).
        total: trials, broadcast against `count`.
        confidence: the interval's nominal coverage.

    Returns:
        lower and upper ends, each (...), in [0, 1]; NaN where total is 0.

    >>> low, high = wilson_interval(8, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.4902, 0.9433)
    """
    from scipy.special import ndtri

    square = float(ndtri(0.5 + confidence / 2)) ** 2
    trials = np.asarray(total, np.float64)
    rate = share(count, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (rate + square / (2 * trials)) / (1 + square / trials)
        inside = rate * (1 - rate) * square / trials + (square / (2 * trials)) ** 2
        half = np.sqrt(inside) / (1 + square / trials)
    # The interval always holds the share itself; at 0 and 1 rounding would leave it a hair outside.
    return np.clip(centre - half, 0.0, rate), np.clip(centre + half, rate, 1.0)


def resample_images(right: NDArray[np.bool_], generator: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Return the means over N images drawn with replacement, the same images for every row.

    Args:
        right: per row and image whether the model was right, (P, N).
        generator: where the draws come from.
        draws: B, how many times to draw.

    Returns:
        shape (B, P).
    """
    rows, images = right.shape
    values = right.T.astype(np.float32)  # counts and sums below 2**24 are exact in float32
    means: Floats = np.empty((draws, rows))
    chunk = max(1, min(draws, 2_000_000 // max(images, 1)))
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        drawn = generator.integers(0, images, (size, images)) + np.arange(size)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=size * images).reshape(size, images).astype(np.float32)
        means[start : start + size] = (counts @ values) / images
    return means


def resample_seeds(seeds: Sequence[int], generator: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Return how often each model counts when training seeds are drawn with replacement.

    Of n distinct seeds n - 1 are drawn: the variance of a mean over seeds is then the unbiased one (Rao and Wu,
    J. Amer. Statist. Assoc. 83, 1988), where n draws of n would understate it by (n - 1) / n: by a third for
    three seeds. Models with the same seed share their start and their order of images, and are drawn together.
    One seed alone is always drawn.

    Args:
        seeds: the training seed of each of M models.
        generator: where the draws come from.
        draws: B, how many times to draw.

    Returns:
        counts, shape (B, M).
    """
    distinct, position = np.unique(np.asarray(seeds, np.int64), return_inverse=True)
    number = len(distinct)
    drawn = generator.integers(0, number, (draws, max(number - 1, 1)))
    counts: Floats = (drawn[:, :, None] == np.arange(number)).sum(1).astype(np.float64)
    return counts[:, position]


def percentile_interval(replicates: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval between the outer percentiles of bootstrap replicates (B,); NaN if all are undefined.

    Between three seeds this interval cannot be wider than the seeds' own range: where seeds matter more than images,
    its true coverage is nearer 75 % than 95 %. More seeds are the only cure.
    """
    defined = replicates[~np.isnan(replicates)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
