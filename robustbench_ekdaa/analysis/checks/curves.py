"""Whether the curve of accuracy against epsilon is long, fine and steady enough for what is read off it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ...storing.bits import from_bits
from ...storing.outcomes import Outcomes
from ..metrics import eps_50
from ..standing import NOT_RANKED, chance_level, standings
from ..transfer import transfer_grids
from .finding import WARN, Finding, passed, some, title
from .strength import excess
from .withstood import own_pairs

COARSE = 0.6  # of the clean accuracy: a larger fall from one epsilon to the next leaves eps_50 to interpolation
FEWEST = 3  # epsilons above 0 that make a curve
ABOVE_CHANCE = 0.05  # by which accuracy may stay above chance at the largest epsilon


def grid_spacing(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for curves whose eps_50 lies in one steep step, and for grids of one or two epsilons."""
    for grid in transfer_grids(outcomes):
        if len(grid.epsilons) < 2:
            continue
        falls, curves = {}, grid.curve()
        for column, card in enumerate(grid.cards):
            curve = curves[:, column]
            half = eps_50(grid.epsilons, curve)
            if np.isfinite(half) and curve[0] > 0:
                step = int(np.searchsorted(grid.epsilons, half))
                falls[card] = float((curve[max(step, 1) - 1] - curve[max(step, 1)]) / curve[0])
        largest = max(falls.values(), default=0.0)
        steep = [card for card, fall in falls.items() if fall > COARSE]
        few = len(grid.epsilons) - 1 < FEWEST
        if not steep and not few:
            yield passed("grid_spacing", 100 * largest, f"The grid of epsilons ({grid.norm}) is fine around eps_50.")
            continue
        yield Finding(
            "grid_spacing",
            WARN,
            100 * largest,
            f"{grid.norm}, ε = {', '.join(f'{epsilon:g}' for epsilon in grid.epsilons[1:])}",
            f"Accuracy falls by up to {100 * largest:.0f} % of the clean accuracy from one epsilon to the next"
            f"{', and there are ' + str(len(grid.epsilons) - 1) + ' epsilons' if few else ''}: eps_50 and area are "
            "made by interpolation.",
            "Sweep epsilons between, such as 0:0.3:0.03.",
            () if few else tuple(steep),
        )


def grid_end(outcomes: Outcomes) -> Iterator[Finding]:
    """Measure how far above chance accuracy is at the largest epsilon, where the area ends."""
    chance = chance_level(outcomes)
    for grid in transfer_grids(outcomes):
        if len(grid.epsilons) < 2:
            continue
        kinds = standings(outcomes)
        last = {
            card: float(value)
            for card, value in zip(grid.cards, grid.curve()[-1], strict=True)
            if value == value and kinds[card].kind != NOT_RANKED
        }
        above = {card: value for card, value in last.items() if value > chance + ABOVE_CHANCE}
        if not above:
            if last:
                meaning = f"Curves ({grid.norm}) end near chance."
                yield passed("grid_end", 100 * (max(last.values()) - chance), meaning)
            continue
        card = max(above, key=lambda one: above[one])
        yield Finding(
            "grid_end",
            WARN,
            100 * (above[card] - chance),
            f"{some(list(above), ', ')} at ε = {grid.epsilons[-1]:g} ({grid.norm})",
            f"At the largest epsilon {title(outcomes, card)} is still {100 * (above[card] - chance):.0f} points above "
            "chance: the area under the curve depends on where the grid ends.",
            "Sweep larger epsilons, or compare at one epsilon and not by area.",
            tuple(above),
        )


def success_falls(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for attacks on a model itself that fool it less at a larger epsilon."""
    found, looked = [], False
    for grid in transfer_grids(outcomes):
        for attack in grid.attacks:
            own = [(i, j) for i, j in own_pairs(grid) if grid.scored_under(attack)[i, j]]
            looked |= bool(own) and len(grid.epsilons) > 2
            bits = [grid.right_on_itself(epsilon, (attack,)) for epsilon in grid.epsilons[1:]] if own else []
            for _, j in own:
                rights = [from_bits(one[j], len(outcomes.labels)) for one in bits]
                card = outcomes.models[grid.targets[j]].name
                for epsilon, (before, right) in zip(grid.epsilons[2:], pairwise(rights), strict=True):
                    found.append((excess(right, before), card, attack, epsilon, grid.norm))
    rising = [one for one in found if one[0] > 0]
    if rising:
        gain, card, attack, epsilon, norm = max(rising)
        name = outcomes.attacks[attack].title or outcomes.attacks[attack].name
        yield Finding(
            "success_falls",
            WARN,
            100 * gain,
            f"{name} on {card} at ε = {epsilon:g} ({norm})",
            f"{title(outcomes, card)} is right on {100 * gain:.1f} points more images at ε = {epsilon:g} than at the "
            f"epsilon before, under {name} on itself: the attack oversteps, or follows a gradient that is not true.",
            "Add attacks of several steps, and read the worst case over attacks.",
            tuple(dict.fromkeys(one[1] for one in rising)),
        )
    elif looked:
        yield passed("success_falls", 0, "Attacks are no weaker at larger epsilons.")
