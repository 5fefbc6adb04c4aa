"""How near each attack comes to the best result known: that of all attacks of the run together, image by image.

An attack that leaves many images right which another one turns wrong was not run to its end, or does not suit these
models; and where no attack comes near, their worst case is held up by luck. So every attack's curve stands beside the
curve of the worst case over all attacks, as in Cina et al., "AttackBench" (AAAI 2025, arXiv:2404.19460) and Zimmermann
et al., "Increasing Confidence in Adversarial Robustness Evaluations" (NeurIPS 2022, arXiv:2206.13991).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..storing.outcomes import Outcomes
from .arena import Arena
from .fooled import ALL_CARDS, ITSELF
from .metrics import Floats, area_under_curve
from .standing import NOT_RANKED, standings
from .summary import chosen_epsilon
from .transfer import TransferGrid, transfer_grids


@dataclass(frozen=True)
class OptimalityRow:
    """How near one attack comes to the best result known on one target card; see `Results.optimality`."""

    dataset: str
    norm: str
    epsilon: float
    target: str
    target_rule: str
    standing: str
    attacks_from: str
    attack: str
    accuracy: float
    best_known: float
    gap: float
    area_gap: float
    n_seeds: int
    n_images: int


def optimality_rows(outcomes: Outcomes, epsilon: float | None = None) -> tuple[OptimalityRow, ...]:
    """Return one data set's rows, norm by norm and target by target; none where no epsilon has all attacks."""
    place = f"optimality at {epsilon}"
    if place not in outcomes.derived:
        outcomes.derived[place] = tuple(row for grid in transfer_grids(outcomes) for row in _norm_rows(grid, epsilon))
    rows: tuple[OptimalityRow, ...] = outcomes.derived[place]
    return rows


def optimality_gap(accuracy: Floats, best_known: Floats) -> Floats:
    """Return by how much more is kept under one attack than under the worst case over all attacks, image by image.

    gap = 1/N sum_i c_i [T(a_i) = y_i]  -  1/N sum_i c_i prod_b [T(b_i) = y_i], over the attacks b of one norm at one
    epsilon from the same surrogates, the attack a among them; c_i: T is right on the clean image.

    Args:
        accuracy: share of images right before and under the attack, (...).
        best_known: share of images right before and under all attacks, (...), in the same places.

    Returns:
        in [0, 1], (...): 0 where no other attack fools a target on any further image.

    >>> float(optimality_gap(np.array(0.75), np.array(0.5)))
    0.25
    """
    return np.asarray(accuracy - best_known)


def _norm_rows(grid: TransferGrid, epsilon: float | None) -> Iterator[OptimalityRow]:
    chosen = chosen_epsilon(grid, epsilon)
    if not chosen > 0:
        return
    place, known = grid.epsilons.index(chosen), standings(grid.outcomes)
    curves = [*_transferred(grid), *_on_itself(grid)]
    for column, card in enumerate(grid.cards):
        models = [grid.outcomes.models[key] for key in grid.targets if grid.outcomes.models[key].name == card]
        for source, attack, accuracies, best in curves:
            mine, worst = grid.over_seeds(accuracies)[:, column], grid.over_seeds(best)[:, column]
            if np.isnan(mine).any():
                continue
            gaps = optimality_gap(mine, worst)
            there = [not np.isnan(accuracies[0, j]) for j, key in enumerate(grid.targets) if _is(grid, key, card)]
            yield OptimalityRow(
                grid.outcomes.dataset,
                grid.norm,
                chosen,
                card,
                models[0].rule,
                known[card].kind if card in known else NOT_RANKED,
                source,
                grid.outcomes.attacks[attack].name,
                float(mine[place]),
                float(worst[place]),
                float(gaps[place]),
                float(area_under_curve(grid.epsilons, gaps)),
                sum(there),
                len(grid.outcomes.labels),
            )


def _is(grid: TransferGrid, key: str, card: str) -> bool:
    return grid.outcomes.models[key].name == card


Curves = tuple[str, str, Floats, Floats]  # from where, the attack, both accuracies by epsilon and target (E, T)


def _transferred(grid: TransferGrid) -> Iterator[Curves]:
    """Yield each attack's accuracies and the worst case's over the same pairs of models, averaged as `curve`."""
    worst = [grid.right_in_the_worst_case(epsilon).mean(-1) for epsilon in grid.epsilons]
    for attack in grid.counted_attacks:
        pairs = grid.pairs_attacked_by(attack)
        alone = [grid.right_in_the_worst_case(epsilon, attack).mean(-1) for epsilon in grid.epsilons]
        yield ALL_CARDS, attack, pairs.mean(np.stack(alone)), pairs.mean(np.stack(worst))


def _on_itself(grid: TransferGrid) -> Iterator[Curves]:
    """Yield the same of attacks on the target itself, those that only ask it among them."""
    arena = Arena(grid, "area", grid.epsilons[-1])  # a metric over all epsilons
    attacks = (*arena.following_attacks, *arena.asking_attacks)
    together = arena.own_accuracy(attacks)
    for attack in attacks:
        alone = arena.own_accuracy((attack,))
        yield ITSELF, attack, np.where(np.isnan(together), np.nan, alone), together
