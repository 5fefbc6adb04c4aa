"""Intervals of a card's own numbers: accuracy under transfer, its curve's area and eps_50, common images, white-box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..storing.bits import Bits, from_bits
from ..storing.outcomes import Outcomes
from .arena import Arena
from .intervals import Interval, difference_interval, share_interval
from .kept import Kept, combined, kept_by
from .metrics import Bools, crossing
from .transfer import TransferGrid, noise_attacks

Ends = tuple[float, float]
UNKNOWN: Ends = (float("nan"), float("nan"))


@dataclass(frozen=True)
class CardIntervals:
    """The 95 % intervals of one card, lower and upper ends; NaN where nothing was scored.

    Attributes:
        accuracy: of transfer robust accuracy at one epsilon.
        area: of the area under its curve, divided by the largest epsilon.
        area_relative: of that area divided by clean accuracy.
        eps_50: of where the curve falls to half of clean accuracy; infinite ends lie beyond the largest epsilon.
        success: of the attack success rate over the common images.
        white_box: of accuracy under all gradient attacks on the model itself.
        white_box_accuracy: that accuracy.
    """

    accuracy: Ends = UNKNOWN
    area: Ends = UNKNOWN
    area_relative: Ends = UNKNOWN
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
        area = combined(heights, _trapezoid(grid.epsilons))
        white_box = share_interval(own[card].sample()) if card in own else None
        found[card] = CardIntervals(
            _ends(share_interval(kept.sample())),
            _ends(share_interval(area.sample())),
            _ends(share_interval(area.over(heights[0]))) if heights[0].by_seed.any(-1).all() else UNKNOWN,
            _eps_50_ends(grid.epsilons, heights),
            success,
            *((_ends(white_box), float(white_box.estimate)) if white_box else ()),
        )
    return found


def noise_accuracy(outcomes: Outcomes, targets: Sequence[str], norm: str, epsilon: float) -> tuple[float, Ends]:
    """Return the mean accuracy of a card's models under noise of one norm and epsilon, and its interval.

    Under several noises, it is that before and under all of them. NaN when there is none, or it was not scored on all
    the models.

    Args:
        outcomes: what the run holds.
        targets: the keys of the card's models.
        norm: of the noise.
        epsilon: how much.
    """
    right = _right_under_noise(outcomes, targets, norm, epsilon)
    if right is None:
        return float("nan"), UNKNOWN
    seeds = [outcomes.models[key].seed for key in targets]
    same = np.repeat(right[None].astype(np.float64), 1 + len(seeds), 0)  # noise has no surrogate to leave out
    sample = kept_by(same, seeds, (None, *seeds), np.ones(len(seeds), bool)).sample()
    return float(right.mean(-1).mean()), _ends(share_interval(sample))


def _right_under_noise(outcomes: Outcomes, targets: Sequence[str], norm: str, epsilon: float) -> Bools | None:
    """Return which images some targets get right under noise, (n, N)."""
    attacks = [key for key in noise_attacks(outcomes) if outcomes.attacks[key].norm == norm]
    known: dict[tuple[str, str], Bits] = {}
    for (crafting, seen), answers in outcomes.cells.answers(outcomes.cells.under(attacks, epsilon)):
        known |= {(target, crafting.attack): bits for target, bits in zip(seen, answers.right, strict=True)}
    if not attacks or not all((target, attack) in known for target in targets for attack in attacks):
        return None
    under = [np.bitwise_and.reduce([known[target, attack] for attack in attacks]) for target in targets]
    right = from_bits(np.stack(under), len(outcomes.labels))
    before = np.stack([outcomes.clean[target] == outcomes.labels for target in targets])
    return right & before if len(attacks) > 1 else right


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
