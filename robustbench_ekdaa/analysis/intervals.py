"""How sure a number is: Wilson's interval for one share, and a bootstrap over images and training seeds.

The bootstrap is paired: every model meets the same drawn images and the same drawn seeds, so that differences between
models keep what the models share. All draws come from a generator that the caller makes from a key.

A bootstrap sees only what was drawn: of six images that are all right it says "100 %, for sure". Where there are few
images, or few that differ, no interval is narrower than Wilson's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..cards import content_hash
from .metrics import Floats, ratio

DRAWS = 2000
FEW_IMAGES = 100  # with fewer, a bootstrap over images is too narrow
FEW_CASES = 5  # and so it is where fewer images than this are right, or wrong


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
    rate = ratio(count, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (rate + square / (2 * trials)) / (1 + square / trials)
        inside = rate * (1 - rate) * square / trials + (square / (2 * trials)) ** 2
        half = np.sqrt(inside) / (1 + square / trials)
    # The interval always holds the share itself; at 0 and 1 rounding would leave it a hair outside.
    return np.clip(centre - half, 0.0, rate), np.clip(centre + half, rate, 1.0)


def is_narrow(low: ArrayLike, high: ArrayLike, rate: ArrayLike, total: int) -> NDArray[np.bool_]:
    """Return where an interval of a share of `total` images cannot be trusted to be wide enough.

    That is with fewer than 100 images, at a share of fewer than 5 right or wrong ones, and at a width of 0.

    Args:
        low: lower ends, (...).
        high: upper ends, (...).
        rate: the shares, (...).
        total: N, the number of images.

    Returns:
        booleans (...).

    """
    share_of, width = np.asarray(rate, np.float64), np.asarray(high, np.float64) - np.asarray(low, np.float64)
    cases = np.minimum(share_of, 1 - share_of) * total
    return np.asarray((total < FEW_IMAGES) | (cases < FEW_CASES) | (width < 1e-9))


def at_least_wilson(low: ArrayLike, high: ArrayLike, rate: ArrayLike, total: int) -> tuple[Floats, Floats]:
    """Widen intervals to Wilson's 95 % interval where they are too narrow to be trusted (`is_narrow`).

    Args:
        low: lower ends, (...), in [0, 1].
        high: upper ends, (...).
        rate: the shares that they belong to, (...); means over models too.
        total: N, the number of images.

    Returns:
        lower and upper ends, each (...); NaN where the share is.

    >>> low, high = at_least_wilson(1.0, 1.0, 1.0, 6)
    >>> round(float(low), 2), float(high)
    (0.61, 1.0)
    """
    narrow = is_narrow(low, high, rate, total)
    wilson_low, wilson_high = wilson_interval(np.asarray(rate, np.float64) * total, total)
    return (
        np.where(narrow, np.minimum(low, wilson_low), low),
        np.where(narrow, np.maximum(high, wilson_high), high),
    )


def lower_bound(right: NDArray[np.bool_], other: NDArray[np.bool_] | float) -> float:
    """Return by how much a card's accuracy at least exceeds another's, or a fixed level: a one-sided 95 % bound.

    Its variance has a part from the images (paired with the other's, over the mean of the seeds) and one from the
    training seeds of each card; its degrees of freedom are Welch and Satterthwaite's. With fewer than 100 images, or no
    variance at all, the bound is no higher than the one of Wilson's intervals (Newcombe, Statist. Med. 17, 1998).

    Args:
        right: whether each of n models is right on each of N images, (n, N).
        other: the same of the m models to compare with, (m, N), or a level in [0, 1].

    Returns:
        a difference in [-1, 1]; above 0 the card beats the other.

    """
    from scipy.stats import t

    models = [right] if isinstance(other, float) else [right, other]
    paired = right.mean(0) - (other if isinstance(other, float) else other.mean(0))
    estimate, images = float(paired.mean()), len(paired)
    samples = [paired, *(part.mean(1) for part in models)]
    parts = [(float(np.var(one, ddof=1)) / len(one), len(one) - 1) for one in samples if len(one) > 1]
    variance = sum(part for part, _ in parts)
    margin, varies = 0.0, variance > 1e-12  # rounding leaves a little of nothing
    if varies:
        freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
        margin = float(t.ppf(0.95, freedom)) * variance**0.5
    if images < FEW_IMAGES or not varies:
        margin = max(margin, _wilson_margin([float(part.mean()) for part in models], images))
    return estimate - margin


def _wilson_margin(rates: Sequence[float], images: int) -> float:
    """Return the margin of the first share downwards and of the second, if any, upwards, joined as for a difference."""
    low, high = wilson_interval(np.array(rates) * images, images, 0.9)  # two-sided 90 % is one-sided 95 %
    return float(np.hypot(rates[0] - low[0], high[1] - rates[1] if len(rates) > 1 else 0.0))


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
