"""Intervals of a card's own numbers: accuracy under transfer, its curve's area and eps_50, common images, white-box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arena import Arena
from .intervals import Interval, difference_interval, share_interval
from .kept import Kept, combined
from .metrics import crossing
from .transfer import TransferGrid

Ends = tuple[float, float]
UNKNOWN: Ends = (float("nan"), float("nan"))


@dataclass(frozen=True)
class CardIntervals:
    """The 95 % intervals of one card, lower and upper ends; NaN where nothing was scored.

    Attributes:
        accuracy: of transfer robust accuracy at one epsilon.
        area: of the area under its curve, divided by the largest epsilon.
        eps_50: of where the curve falls to half of clean accuracy; infinite ends lie beyond the largest epsilon.
        success: of the attack success rate over the common images.
        white_box: of accuracy under all gradient attacks on the model itself.
        white_box_accuracy: that accuracy.
    """

    accuracy: Ends = UNKNOWN
    area: Ends = UNKNOWN
    eps_50: Ends = UNKNOWN
    success: Ends = UNKNOWN
    white_box: Ends = UNKNOWN
    white_box_accuracy: float = float("nan")


def card_intervals(grid: TransferGrid, epsilon: float, compared: Sequence[str]) -> dict[str, CardIntervals]:
    """Return the intervals of every target card.

    Args:
        grid: the attacks of one norm.
        epsilon: which of the grid's epsilons accuracies are stated at.
        compared: the names of the cards whose models have to get an image right for it to be common.
    """
    arenas = (Arena(grid, "accuracy", one) for one in grid.epsilons)
    curve = [arena.under([arena.rows(arena.surrogates)]) for arena in arenas]
    arena = Arena(grid, "accuracy", epsilon)
    own = arena.itself(arena.following_attacks)
    masks = arena.common(*compared) if compared else None
    found = {}
    for card, kept in curve[grid.epsilons.index(epsilon)].items():
        heights = [part[card] for part in curve]
        success = UNKNOWN
        if masks is not None and masks.whole.any() and card in compared:
            low, high = _ends(share_interval(kept.sample(masks)))
            success = 1 - high, 1 - low
        white_box = share_interval(own[card].sample()) if card in own else None
        found[card] = CardIntervals(
            _ends(share_interval(kept.sample())),
            _ends(share_interval(combined(heights, _trapezoid(grid.epsilons)).sample())),
            _eps_50_ends(grid.epsilons, heights),
            success,
            *((_ends(white_box), float(white_box.estimate)) if white_box else ()),
        )
    return found


def _trapezoid(epsilons: Sequence[float]) -> list[float]:
    """Return what each height of a curve weighs in its area divided by the largest epsilon."""
    steps = np.diff(epsilons, prepend=epsilons[0], append=epsilons[-1])
    return [float(weight) for weight in (steps[1:] + steps[:-1]) / 2 / epsilons[-1]]


def _eps_50_ends(epsilons: Sequence[float], heights: Sequence[Kept]) -> Ends:
    """Return between which epsilons accuracy may equal half of clean accuracy.

    At each epsilon the difference of the two has an interval; between epsilons its ends are joined by lines.
    """
    gaps = [_ends(difference_interval(combined((one, heights[0]), (1.0, -0.5)).sample())) for one in heights]
    low, high = ([gap[end] for gap in gaps] for end in (0, 1))
    return crossing(epsilons, low), crossing(epsilons, high)


def _ends(interval: Interval) -> Ends:
    return float(interval.low), float(interval.high)
