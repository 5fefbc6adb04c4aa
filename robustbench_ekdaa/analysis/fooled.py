"""Who is fooled by whom: what every target card keeps of the attacks from every surrogate card, one by one.

A mean over surrogates hides that a target falls most to surrogates of its own kind. So wherever there is such a mean,
there are its parts, with intervals, and accuracy under attacks on the target itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..storing.outcomes import Outcomes
from .arena import Arena
from .intervals import Interval, share_interval
from .kept import Kept, Masks
from .metrics import Floats
from .standing import NOT_RANKED, compared_targets, standings
from .summary import chosen_epsilon
from .transfer import TransferGrid, card_names, transfer_grids

# Where attacks come from: one surrogate card, one of an architecture that no target has, all of them, the target.
CARD, FOREIGN_CARD, ALL_CARDS, ITSELF = "card", "foreign card", "mean over cards", "white-box"


@dataclass(frozen=True)
class FooledRow:
    """What one target card keeps of the attacks from one place; see `Results.who_is_fooled`."""

    dataset: str
    norm: str
    epsilon: float
    target: str
    target_rule: str
    standing: str = NOT_RANKED
    attacks_from: str = ALL_CARDS
    surrogate: str | None = None
    surrogate_rule: str | None = None
    accuracy: float = np.nan
    accuracy_low: float = np.nan
    accuracy_high: float = np.nan
    attack_success_rate_common: float = np.nan
    attack_success_rate_common_low: float = np.nan
    attack_success_rate_common_high: float = np.nan
    n_common: int = 0
    n_seeds: int = 0
    n_surrogates: int = 0
    n_images: int = 0


def fooled_rows(outcomes: Outcomes, epsilon: float | None = None) -> tuple[FooledRow, ...]:
    """Return one data set's rows, norm by norm and target by target; none where no epsilon has all attacks."""
    place = f"fooled at {epsilon}"
    if place not in outcomes.derived:
        outcomes.derived[place] = tuple(row for grid in transfer_grids(outcomes) for row in _norm_rows(grid, epsilon))
    rows: tuple[FooledRow, ...] = outcomes.derived[place]
    return rows


def _norm_rows(grid: TransferGrid, epsilon: float | None) -> Iterator[FooledRow]:
    chosen = chosen_epsilon(grid, epsilon)
    if not chosen > 0:
        return
    arena, known = Arena(grid, "accuracy", chosen), standings(grid.outcomes)
    compared = card_names(grid.outcomes, compared_targets(grid.outcomes))
    among = arena.common(*compared) if compared else None
    sources = [*_sources(arena)]
    for card in grid.cards:
        rule = next(model.rule for model in arena.targets if model.name == card)
        row = FooledRow(grid.outcomes.dataset, grid.norm, chosen, card, rule, known[card].kind)
        for place, kept, attacking in sources:
            found = _numbers(kept[card], among if card in compared else None) if card in kept else {}
            yield replace(row, **place, **found, n_surrogates=attacking.get(card, 0))


def _sources(arena: Arena) -> Iterator[tuple[dict[str, Any], dict[str, Kept], dict[str, int]]]:
    """Yield where attacks come from, as fields of a row, what is kept of them, and how many surrogates there are.

    Both by target card. Foreign cards come last.
    """
    models, foreign = arena.surrogates, {model.name for model in arena.foreign}
    for name in sorted(dict.fromkeys(model.name for model in models), key=foreign.__contains__):
        rows = [i for i, model in enumerate(models) if model.name == name]
        place = {"attacks_from": FOREIGN_CARD if name in foreign else CARD, "surrogate": name}
        place["surrogate_rule"] = models[rows[0]].rule
        yield place, arena.under([[rows]]), _attacking(arena, rows)
    everyone = arena.rows(models)
    yield {"attacks_from": ALL_CARDS}, arena.under([everyone]), _attacking(arena, list(range(len(models))))
    own = arena.itself(arena.following_attacks)
    yield {"attacks_from": ITSELF}, own, {name: len(kept.seeds) for name, kept in own.items()}


def _attacking(arena: Arena, rows: list[int]) -> dict[str, int]:
    """Return how many of some surrogates attacked some model of each target card."""
    counted, names = arena.grid.pairs.counted[rows], np.array([model.name for model in arena.targets])
    return {name: int(counted[:, names == name].any(1).sum()) for name in arena.grid.cards}


def _numbers(kept: Kept, among: Masks | None) -> dict[str, Any]:
    """Return what is kept, and what is lost of the common images, with intervals; both as fields of a row."""
    sample = kept.sample()
    share = share_interval(sample)
    found = {f"accuracy{end}": float(value) for end, value in _ends(share)}
    found |= {"n_seeds": sample.n_seeds, "n_images": sample.n_images}
    if among is not None and among.whole.any():
        some = kept.sample(among)
        common = share_interval(some)
        found["n_common"] = some.n_images
        lost = Interval(1 - common.estimate, 1 - common.high, 1 - common.low, common.p, common.p_better)
        found |= {f"attack_success_rate_common{end}": float(value) for end, value in _ends(lost)}
    return found


def _ends(interval: Interval) -> Iterator[tuple[str, Floats]]:
    yield from (("", interval.estimate), ("_low", interval.low), ("_high", interval.high))
