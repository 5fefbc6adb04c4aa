"""What each card keeps under attack, with all that an interval needs, from the pairs that a transfer grid counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np

from ..intervals import Interval, difference_intervals
from ..kept import Kept, averaged, kept_by, surrogate_weights
from ..metrics import Bools, Floats
from ..transfer import TransferGrid

TURNED = 0.02  # a difference must exceed this both ways before its sign is said to change


def withstood(
    grid: TransferGrid, epsilon: float, attack: str | None = None, surrogates: Collection[str] | None = None
) -> dict[str, Kept]:
    """Return what each target card keeps of transferred attacks, averaged as `TransferGrid.curve`.

    Args:
        grid: the outcomes of one norm.
        epsilon: one of its epsilons.
        attack: an attack's key (default: the worst case over all).
        surrogates: names of the surrogate cards that count (default: all).
    """
    pairs = grid.pairs if attack is None else grid.pairs_under(attack)
    right = grid.right_in_the_worst_case(epsilon) if attack is None else grid.right(epsilon, attack)
    names = [name for name in pairs.surrogate_cards if surrogates is None or name in surrogates]
    rows = [[i for i, card in enumerate(pairs.cards) if card == name] for name in names]
    left_out = _seeds(grid)
    values = averaged(right, surrogate_weights(pairs.counted, pairs.seeds, [rows], left_out))
    counted = pairs.counted[[row for some in rows for row in some]]
    return _by_card(grid, values, left_out, np.asarray(counted.any(0)))


def withstood_white_box(grid: TransferGrid, epsilon: float) -> dict[str, Kept]:
    """Return what each target card keeps of attacks on itself, the worst case over attacks."""
    right, defined = grid.right(epsilon), np.zeros(len(grid.targets), bool)
    kept = np.zeros((len(grid.targets), right.shape[-1]))
    for i, j in own_pairs(grid):
        kept[j], defined[j] = right[i, j], True
    left_out = _seeds(grid)
    return _by_card(grid, np.broadcast_to(kept, (len(left_out), *kept.shape)), left_out, defined)


def own_pairs(grid: TransferGrid) -> list[tuple[int, int]]:
    """Return the rows and columns of targets that were attacked on themselves alone."""
    alone = [key not in grid.outcomes.ensembles for key in grid.surrogates]
    return [(int(i), int(j)) for i, j in np.argwhere(grid.white_box) if alone[i]]


def _seeds(grid: TransferGrid) -> list[int | None]:
    models = [grid.outcomes.models[key] for key in dict.fromkeys((*grid.targets, *grid.holders))]
    return [None, *sorted({model.seed for model in models})]


def _by_card(grid: TransferGrid, values: Floats, left_out: list[int | None], defined: Bools) -> dict[str, Kept]:
    models, found = grid.outcomes.models, {}
    for card in grid.cards:
        own = [j for j, key in enumerate(grid.targets) if models[key].name == card and defined[j]]
        if own:
            seeds = [models[grid.targets[j]].seed for j in own]
            found[card] = kept_by(values[:, own], seeds, left_out, np.ones(len(left_out) - 1, bool))
    return found


def differences(kept: Mapping[str, Kept], cards: Collection[str]) -> dict[tuple[str, str], Interval]:
    """Return how much more the first card of each pair keeps than the second."""
    pairs = list(combinations([card for card in cards if card in kept], 2))
    return dict(zip(pairs, difference_intervals([kept[a].minus(kept[b]) for a, b in pairs]), strict=True))


def sign(gap: Interval) -> int:
    """Return 1 or -1 for a difference that exceeds two points and is shown not to be 0; else 0."""
    if gap.estimate > TURNED and gap.low > 0:
        return 1
    return -1 if gap.estimate < -TURNED and gap.high < 0 else 0
