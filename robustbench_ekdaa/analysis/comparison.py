"""How two cards differ in accuracy under transferred attacks: paired differences, McNemar's test, Holm's correction.

A difference that is a mean over surrogates says nothing about learning rules by itself: a target is fooled most by
surrogates of its own rule, so that the sign may depend on the surrogates (`TransferGrid.by_surrogate_card`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UsageError, unknown_name
from ..scoring.outcomes import Outcomes
from .intervals import DRAWS, FEW_IMAGES, keyed, percentile_interval, wilson_interval
from .metrics import Floats
from .summary import reference_epsilon
from .transfer import TransferGrid, transfer_grids


@dataclass(frozen=True)
class Difference:
    """Transfer robust accuracy of one card minus another's at one epsilon, with its 95 % interval.

    Attributes:
        estimate: the difference, in [-1, 1]; above 0: under these surrogates' attacks the first card keeps more.
        low: lower end of the interval.
        high: upper end of the interval.
        n_seeds: training seeds of the card that has fewer; below 5 there is no verdict, below 3 no claim at all.
    """

    epsilon: float
    estimate: float
    low: float
    high: float
    n_seeds: int


def transfer_difference(
    outcomes: Outcomes,
    first: str,
    second: str,
    *,
    epsilon: float | None = None,
    norm: str | None = None,
    draws: int = DRAWS,
) -> Difference:
    """Compare two model cards by a bootstrap over images and training seeds, paired in both.

    With fewer than 100 images, or an interval of width 0, the interval is at least the one of Wilson's intervals of the
    two accuracies (Newcombe, Statist. Med. 17, 1998).

    Args:
        outcomes: one data set's outcomes.
        first: a target card's name.
        second: another's.
        epsilon: where to compare (default: as in `Results.summary`).
        norm: which attacks' norm (default: the first there is).
        draws: how many bootstrap draws.

    Raises:
        UsageError: if a card, the norm or the epsilon was not scored.
    """
    grid = _grid_of(outcomes, norm)
    for name in (first, second):
        if name not in grid.cards:
            raise unknown_name("model", name, grid.cards)
    epsilon = reference_epsilon(grid.epsilons, epsilon)
    if not epsilon > 0:
        raise UsageError(f"{outcomes.dataset}: no epsilon has all attacks yet. Run the sweep again to finish it.")
    one, other = grid.cards.index(first), grid.cards.index(second)
    curve = grid.curve()[grid.epsilons.index(epsilon)]
    drawn = grid.replicates(epsilon, keyed("difference", outcomes.dataset, grid.norm), draws)
    low, high = percentile_interval(drawn[:, one] - drawn[:, other])
    if first != second:
        low, high = _at_least_newcombe(low, high, (float(curve[one]), float(curve[other])), len(outcomes.labels))
    seeds = [sum(outcomes.models[key].name == name for key in grid.targets) for name in (first, second)]
    return Difference(epsilon, float(curve[one] - curve[other]), low, high, min(seeds))


def _at_least_newcombe(low: float, high: float, rates: tuple[float, float], images: int) -> tuple[float, float]:
    if images >= FEW_IMAGES and high - low > 1e-9:
        return low, high
    lows, highs = wilson_interval(np.array(rates) * images, images)
    estimate = rates[0] - rates[1]
    below, above = np.hypot(rates[0] - lows[0], highs[1] - rates[1]), np.hypot(highs[0] - rates[0], rates[1] - lows[1])
    return min(low, float(estimate - below)), max(high, float(estimate + above))


def _grid_of(outcomes: Outcomes, norm: str | None) -> TransferGrid:
    grids = {grid.norm: grid for grid in transfer_grids(outcomes)}
    if not grids:
        raise UsageError(f"{outcomes.dataset}: no gradient attack was scored. Sweep with one, such as --attacks fgsm.")
    if norm is not None and norm not in grids:
        raise unknown_name("norm", norm, grids)
    return grids[norm] if norm else next(iter(grids.values()))


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """McNemar's exact test for two models on the same images.

    The two-sided binomial test of the b images that only the first gets right among the b + c that only one does.

    Args:
        right_a: whether the first model is right, booleans (N,).
        right_b: whether the second is, booleans (N,).

    Returns:
        the two-sided p-value in (0, 1]; 1 when the models never differ.

    >>> mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    from scipy.stats import binomtest

    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


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
