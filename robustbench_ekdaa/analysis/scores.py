"""Which statistic of a card is compared, as a mean over images of numbers in [0, 1], the larger the harder to fool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import unknown_name
from .metrics import Bools

Metric = Literal["accuracy", "area", "asr-common", "minimal-norm"]
METRICS: tuple[str, ...] = get_args(Metric)
AT_ONE_EPSILON = ("accuracy", "asr-common")
TITLES = {
    "accuracy": "accuracy under attack",
    "area": "area under the accuracy-epsilon curve",
    "asr-common": "share of the common images that are kept",
    "minimal-norm": "mean of the smallest norms found, in shares of the largest epsilon",
}

Values = NDArray[np.float32] | Bools


def check_metric(name: str) -> str:
    """Return a metric's name; raises UsageError for an unknown one."""
    spelled = name.replace("_", "-") if isinstance(name, str) else name
    if spelled not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return spelled


def per_image(metric: str, epsilons: Sequence[float], right: Iterable[Bools]) -> Values:
    """Turn what is right at each epsilon into the statistic, image by image.

    "accuracy" and "asr-common": whether the image is right at the one epsilon given. "area": the area under the
    image's own curve by the trapezoidal rule, divided by the largest epsilon. "minimal-norm": the smallest epsilon at
    which the image is wrong, divided by the largest; 1 where it never is, 0 where it is so without an attack.

    Args:
        metric: one of these.
        epsilons: ascending; for "area" and "minimal-norm" the first is 0. E of them.
        right: at each epsilon, (..., N).

    Returns:
        float32 in [0, 1], or booleans for metrics at one epsilon, (..., N).

    >>> curve = [np.array([one]) for one in (True, True, False, True)]
    >>> [round(float(per_image(metric, [0, 1, 2, 4], curve)[0]), 3) for metric in ("area", "minimal-norm")]
    [0.625, 0.5]
    """
    heights = iter(right)
    before = next(heights)
    if metric in AT_ONE_EPSILON:
        return before  # a quarter of the memory that numbers would take
    total = np.zeros(before.shape, np.float32)
    alive = np.ones(before.shape, bool)
    for (low, high), after in zip(pairwise(epsilons), heights, strict=True):
        width = np.float32((high - low) / epsilons[-1])
        if metric == "area":
            total += width / 2 * before + width / 2 * after
        else:
            alive &= before
            total += width * alive
        before = after
    return total
