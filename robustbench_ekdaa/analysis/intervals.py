"""How sure a number is: Wilson's interval for one share, and one of images and training seeds together for the rest.

Images and seeds are two reasons why a number would come out differently next time. The images' part is the variance of
a mean over images; the seeds' part is a jackknife, in which every seed is left out once, among surrogates and targets
alike. What the images or the seeds of a run do not show cannot enter: of six images that are all right, the images'
part is nothing. So where there are few images, or few that differ, no interval is narrower than Wilson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics import Floats, ratio

FEW_IMAGES = 100  # with fewer, a variance over images is too rough
NOTHING = 1e-9  # a width that is rounding
FEW_CASES = 5  # and so it is where fewer images than this are right, or wrong


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

    trials = np.asarray(total, np.float64)
    return _wilson(ratio(count, trials), trials, ndtri(0.5 + confidence / 2))


def _wilson(rate: Floats, trials: ArrayLike, deviations: ArrayLike) -> tuple[Floats, Floats]:
    """Return Wilson's interval of so many standard deviations either way."""
    square, trials = np.asarray(deviations, np.float64) ** 2, np.asarray(trials, np.float64)
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
    return np.asarray((total < FEW_IMAGES) | (cases < FEW_CASES) | (width < NOTHING))


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


@dataclass(frozen=True)
class Sample:
    """What the interval of a mean over images, models and their seeds is computed from.

    Leading axes, if any, are several estimates side by side.

    Attributes:
        images: the statistic image by image, at the models that there are, (..., N); its mean is the estimate.
        without: the estimate without each of K training seeds: without its models among surrogates and targets of all
            cards, (..., K).
        by_seed: the estimate by each target seed alone, (..., n); of a difference between cards of other seeds, both
            cards' own.
    """

    images: Floats
    without: Floats
    by_seed: tuple[Floats, ...]

    @property
    def estimate(self) -> Floats:
        """The statistic, (...)."""
        return np.asarray(self.images.mean(-1))

    @property
    def n_images(self) -> int:
        """N."""
        return int(self.images.shape[-1])

    @property
    def n_seeds(self) -> int:
        """How many seeds the card has that has fewer."""
        return min(int(seeds.shape[-1]) for seeds in self.by_seed)


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
        estimate: the statistic, (...).
        low: lower end.
        high: upper end.
        p: of the hypothesis that the statistic is 0, two-sided.
        p_better: how sure it is that the statistic is above 0, in [0, 1]: 1 - p / 2 above 0, p / 2 below.
    """

    estimate: Floats
    low: Floats
    high: Floats
    p: Floats
    p_better: Floats


def variance_parts(sample: Sample) -> tuple[Floats, Floats]:
    """Return the variance that the choice of images gives an estimate, and the one that training seeds give it.

    The seeds' part is a jackknife: one seed at a time is left out of all cards, among surrogates and targets, because
    a model that is strong as a target is often weak as a surrogate. It is never less than what the target seeds' own
    spread says. With one seed it is 0: nothing is known of it.

    Returns:
        V_I and V_S, each (...).
    """
    number, left_out = sample.n_images, sample.without.shape[-1]
    images = np.asarray(sample.images.var(-1, ddof=1) / number if number > 1 else 0 * sample.estimate)
    if sample.n_seeds < 2:
        return images, 0 * images
    jackknife = (left_out - 1) * sample.without.var(-1)  # (K - 1) / K times the sum of squares
    targets = sum(seeds.var(-1, ddof=1) / seeds.shape[-1] for seeds in sample.by_seed)
    return images, np.maximum(jackknife, targets)


def share_interval(sample: Sample, confidence: float = 0.95) -> Interval:
    """Return the interval of a share, or of another mean over images in [0, 1] such as an area; see `t_interval`.

    It lies in [0, 1], and where it cannot be trusted to be wide enough (`is_narrow`) it is at least Wilson's.
    """
    plain = t_interval(sample, confidence)
    rate = np.clip(plain.estimate, 0, 1)
    low, high = at_least_wilson(np.clip(plain.low, 0, 1), np.clip(plain.high, 0, 1), rate, sample.n_images)
    return replace(plain, low=low, high=high)


def difference_interval(sample: Sample, confidence: float = 0.95) -> Interval:
    """Return the interval of a difference of two shares; see `t_interval`.

    With fewer than 100 images, or where the two differ on fewer images than 5, it is at least the one of Wilson's
    intervals of the two shares of images that speak for either side (joined as in Newcombe, Statist. Med. 17, 1998);
    and the p-value is at least the one that belongs to it.
    """
    from scipy.special import ndtri

    plain, number = t_interval(sample, confidence), sample.n_images
    sides = np.stack([np.maximum(sample.images, 0).mean(-1), np.maximum(-sample.images, 0).mean(-1)])
    narrow = (number < FEW_IMAGES) | (sides.sum(0) * number < FEW_CASES) | (plain.high - plain.low < NOTHING)
    if not narrow.any():
        return replace(plain, low=np.maximum(plain.low, -1), high=np.minimum(plain.high, 1))
    below, above = _joined_margins(sides, number, ndtri(0.5 + confidence / 2))
    low = np.where(narrow, np.minimum(plain.low, plain.estimate - below), plain.low)
    high = np.where(narrow, np.maximum(plain.high, plain.estimate + above), plain.high)
    p = np.where(narrow, np.maximum(plain.p, _joined_p(sides, number)), plain.p)
    return Interval(plain.estimate, np.maximum(low, -1), np.minimum(high, 1), p, _sure(plain.estimate, p))


def difference_intervals(samples: Sequence[Sample]) -> list[Interval]:
    """Return `difference_interval` of each sample; those of one shape are found together, which takes less time."""
    alike: dict[object, list[int]] = {}
    for place, sample in enumerate(samples):
        parts = (sample.images, sample.without, *sample.by_seed)
        alike.setdefault(tuple(part.shape for part in parts), []).append(place)
    found: dict[int, Interval] = {}
    for places in alike.values():
        some = [samples[place] for place in places]
        by_seed = zip(*(sample.by_seed for sample in some), strict=True)
        together = Sample(
            np.stack([sample.images for sample in some]),
            np.stack([sample.without for sample in some]),
            tuple(np.stack(seeds) for seeds in by_seed),
        )
        each = difference_interval(together)
        ends = zip(each.estimate, each.low, each.high, each.p, each.p_better, strict=True)
        found |= {place: Interval(*map(np.asarray, numbers)) for place, numbers in zip(places, ends, strict=True)}
    return [found[place] for place in range(len(samples))]


def t_interval(sample: Sample, confidence: float = 0.95) -> Interval:
    """Return the interval that images and training seeds together give an estimate.

    estimate +- t_nu sqrt(V), with V = V_I + V_S of `variance_parts` and Satterthwaite's degrees of freedom,
    nu = V^2 / (V_I^2 / (N - 1) + V_S^2 / (n - 1)) (Satterthwaite, Biometrics Bull. 2, 1946).
    """
    from scipy.special import stdtr, stdtrit

    images, seeds = variance_parts(sample)
    variance, estimate = images + seeds, sample.estimate
    pooled = images**2 / max(sample.n_images - 1, 1) + seeds**2 / max(sample.n_seeds - 1, 1)
    freedom = np.where(pooled > 0, variance**2 / np.where(pooled > 0, pooled, 1), 1.0)
    error = np.sqrt(variance)
    half = stdtrit(freedom, 0.5 + confidence / 2) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(np.abs(estimate) < NOTHING, 1.0, 2 * stdtr(freedom, -np.abs(estimate) / error))
    return Interval(estimate, estimate - half, estimate + half, p, _sure(estimate, p))


def _sure(estimate: Floats, p: Floats) -> Floats:
    return np.where(estimate > 0, 1 - p / 2, p / 2)


def _joined_margins(sides: Floats, total: int, deviations: ArrayLike) -> tuple[Floats, Floats]:
    """Return how far the difference of two shares, (2, ...), may lie below and above, from Wilson's intervals."""
    low, high = _wilson(sides, total, deviations)
    (below_first, below_second), (above_first, above_second) = sides - low, high - sides
    return np.hypot(below_first, above_second), np.hypot(above_first, below_second)


def _joined_p(sides: Floats, total: int) -> Floats:
    """Return 1 - c, with c the largest confidence whose joined interval leaves 0 out, by bisection."""
    from scipy.special import ndtr

    difference = np.asarray(sides[0] - sides[1])
    least, most = np.zeros(difference.shape), np.full(difference.shape, 40.0)  # standard deviations
    for _ in range(40):
        middle = (least + most) / 2
        below, above = _joined_margins(sides, total, middle)
        reached = np.where(difference > 0, below, above) >= np.abs(difference)
        least, most = np.where(reached, least, middle), np.where(reached, middle, most)
    return np.asarray(2 * ndtr(-most))


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's step-down correction: p-values that hold together (Holm, Scand. J. Statist. 6, 1979).

    Args:
        p_values: one per comparison, in [0, 1], (M,).

    Returns:
        adjusted p-values in [0, 1], in the same order.

    >>> [round(float(p), 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted: Floats = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


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
    from scipy.special import stdtrit

    models = [right] if isinstance(other, float) else [right, other]
    paired = right.mean(0) - (other if isinstance(other, float) else other.mean(0))
    estimate, images = float(paired.mean()), len(paired)
    samples = [paired, *(part.mean(1) for part in models)]
    parts = [(float(np.var(one, ddof=1)) / len(one), len(one) - 1) for one in samples if len(one) > 1]
    variance = sum(part for part, _ in parts)
    margin, varies = 0.0, variance > 1e-12  # rounding leaves a little of nothing
    if varies:
        freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
        margin = float(stdtrit(freedom, 0.95)) * variance**0.5
    if images < FEW_IMAGES or not varies:
        margin = max(margin, _wilson_margin([float(part.mean()) for part in models], images))
    return estimate - margin


def _wilson_margin(rates: Sequence[float], images: int) -> float:
    """Return the margin of the first share downwards and of the second, if any, upwards, joined as for a difference."""
    low, high = wilson_interval(np.array(rates) * images, images, 0.9)  # two-sided 90 % is one-sided 95 %
    return float(np.hypot(rates[0] - low[0], high[1] - rates[1] if len(rates) > 1 else 0.0))
