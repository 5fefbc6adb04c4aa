"""Accuracy under transfer: which (surrogate, target) pairs count, and how they are averaged.

For a target, every surrogate *card* weighs the same, whatever the number of its seeds: a learning rule must not look
robust because most surrogates were of another family. A model attacked on itself (white-box) never counts. Nor does a
pair of different cards with the same training seed, where the card has other seeds: all cards draw their first weights
from the seed, so such a pair started as one network, and the attacker would know more than an attacker can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..scoring.outcomes import Outcomes
from .intervals import DRAWS, resample_images, resample_seeds
from .metrics import Floats

Said = NDArray[np.int64]
Bools = NDArray[np.bool_]


def scored_targets(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the targets that were trained and have seen the clean images, in the sweep's order."""
    models = outcomes.models
    return tuple(
        key
        for key in outcomes.targets
        if models[key].status == "trained" and key in outcomes.clean and len(outcomes.labels)
    )


@dataclass(frozen=True)
class TransferGrid:
    """The gradient attacks of one norm on one data set: surrogates S, targets T, images N.

    Attributes:
        norm: "linf", "l2" or "l1"; sizes of different norms cannot be compared, so a worst case never mixes them.
        attacks: keys of the attacks that were finished on all pairs at some epsilon; noise is not among them.
        unfinished: keys of the others.
        surrogates: keys of the models that were attacked on.
        targets: keys of the models that were scored.
        epsilons: the sizes at which all `attacks` were finished on all pairs; the first is 0.
    """

    outcomes: Outcomes
    norm: str
    attacks: tuple[str, ...]
    unfinished: tuple[str, ...]
    surrogates: tuple[str, ...]
    targets: tuple[str, ...]
    epsilons: tuple[float, ...]

    @cached_property
    def _said(self) -> dict[tuple[str, str, str, float], Said]:
        return {
            (cell.surrogate, cell.target, cell.attack, cell.epsilon): cell.predictions
            for cell in self.outcomes.cells
            if cell.surrogate is not None
        }

    @cached_property
    def cards(self) -> tuple[str, ...]:
        """The names of the targets' model cards, in the sweep's order."""
        return card_names(self.outcomes, self.targets)

    @cached_property
    def scored(self) -> Bools:
        """Which pairs have outcomes, (S, T)."""
        pairs = {(surrogate, target) for surrogate, target, attack, _ in self._said if attack in self.attacks}
        return self._table(pairs)

    @cached_property
    def counted(self) -> Bools:
        """Which pairs enter transfer means: scored, not white-box, and of another start if there is one, (S, T)."""
        relation = self.outcomes.relation
        pairs = {(s, t): relation(s, t) for s in self.surrogates for t in self.targets}
        transfer = self.scored & ~self._table({pair for pair, kind in pairs.items() if kind == "white-box"})
        other_start = transfer & ~self._table({pair for pair, kind in pairs.items() if kind == "same-start"})
        answer = np.zeros_like(transfer)
        for rows in self._rows_by_card:
            answer[rows] = np.where(other_start[rows].any(0), other_start[rows], transfer[rows])
        return answer

    @cached_property
    def counts_same_start(self) -> bool:
        """Whether a pair that started from the same weights had to count, for want of another seed of its card."""
        relation = self.outcomes.relation
        same = {(s, t) for s in self.surrogates for t in self.targets if relation(s, t) == "same-start"}
        return bool((self.counted & self._table(same)).any())

    @cached_property
    def _rows_by_card(self) -> list[list[int]]:
        names = [self.outcomes.models[key].name for key in self.surrogates]
        return [[i for i, name in enumerate(names) if name == one] for one in dict.fromkeys(names)]

    def _table(self, pairs: set[tuple[str, str]]) -> Bools:
        return np.array([[(surrogate, target) in pairs for target in self.targets] for surrogate in self.surrogates])

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.surrogates), len(self.targets)

    def right(self, epsilon: float, attack: str | None = None) -> Bools:
        """Which images each target still gets right, (S, T, N): under one attack, or under all (the worst case).

        The worst case asks that the clean image was right too. Pairs without outcomes are False.
        """
        labels = self.outcomes.labels
        answer = np.zeros((*self._shape, len(labels)), bool)
        for j, target in enumerate(self.targets):
            before = self.outcomes.clean[target] == labels
            for i, surrogate in enumerate(self.surrogates):
                if epsilon == 0 and self.scored[i, j]:
                    answer[i, j] = before
                elif self.scored[i, j]:
                    chosen = self.attacks if attack is None else (attack,)
                    said = [self._said[surrogate, target, one, epsilon] for one in chosen]
                    still = np.logical_and.reduce([part == labels for part in said])
                    answer[i, j] = still & before if attack is None else still
        return answer

    def pair_accuracy(self, attack: str | None = None) -> Floats:
        """Return the accuracy of every pair at every epsilon, (E, S, T); NaN for pairs without outcomes."""
        means = [self.right(epsilon, attack).mean(-1) for epsilon in self.epsilons]
        return np.where(self.scored, np.stack(means), np.nan)

    def target_accuracy(self, attack: str | None = None) -> Floats:
        """Return each target's accuracy at every epsilon, the mean over surrogate cards, (E, T)."""
        return self.over_surrogates(self.pair_accuracy(attack))

    def over_surrogates(self, values: Floats, counts: Floats | None = None) -> Floats:
        """Average over surrogates, each card weighing the same.

        Args:
            values: one number per pair, (..., S, T).
            counts: how often each surrogate counts, (..., S); default once. A card whose counted seeds are all
                excluded (the only one drawn is the target itself) falls back on its other seeds.

        Returns:
            one number per target, (..., T); NaN for a target that no other model attacked.
        """
        means = []
        for rows in self._rows_by_card:
            allowed = self.counted[rows].astype(np.float64)
            weights = allowed if counts is None else counts[..., rows, None] * allowed
            weights = np.where(weights.sum(-2, keepdims=True) > 0, weights, allowed)
            part = np.where(allowed > 0, values[..., rows, :], 0.0)
            total = weights.sum(-2)
            mean = np.full(np.broadcast_shapes(total.shape, part.shape[:-2] + part.shape[-1:]), np.nan)
            np.divide((weights * part).sum(-2), total, out=mean, where=total > 0)
            means.append(mean)
        return mean_of_defined(np.stack(means), axis=0)

    def over_seeds(self, values: Floats, counts: Floats | None = None) -> Floats:
        """Average over the training seeds of each target card: (..., T) to (..., cards)."""
        columns = []
        for name in self.cards:
            own = [j for j, key in enumerate(self.targets) if self.outcomes.models[key].name == name]
            part = values[..., own]
            weights = np.broadcast_to(1.0 if counts is None else counts[..., own], part.shape)
            weights = np.where(weights.sum(-1, keepdims=True) > 0, weights, 1.0)
            weights = np.where(np.isnan(part), 0.0, weights)
            total = weights.sum(-1)
            mean = np.full(total.shape, np.nan)
            np.divide((weights * np.nan_to_num(part)).sum(-1), total, out=mean, where=total > 0)
            columns.append(mean)
        return np.stack(columns, axis=-1)

    def curve(self, attack: str | None = None) -> Floats:
        """Return each target card's accuracy at every epsilon, averaged over surrogates and seeds, (E, cards)."""
        return self.over_seeds(self.target_accuracy(attack))

    def replicates(self, epsilon: float, generator: np.random.Generator, draws: int = DRAWS) -> Floats:
        """Bootstrap each target card's worst-case transfer accuracy over images and training seeds, (B, cards).

        Surrogates' and targets' seeds are drawn apart: drawn together, they would be the same too often.
        """
        right = self.right(epsilon)
        rows = right.reshape(-1, right.shape[-1])
        values = resample_images(rows, generator, draws).reshape(draws, *self._shape)
        models = self.outcomes.models
        surrogates = resample_seeds([models[key].seed for key in self.surrogates], generator, draws)
        targets = resample_seeds([models[key].seed for key in self.targets], generator, draws)
        return self.over_seeds(self.over_surrogates(values, surrogates), targets)


def mean_of_defined(values: Floats, axis: int) -> Floats:
    """Average over an axis leaving NaN out; NaN where nothing is defined."""
    defined = ~np.isnan(values)
    total = defined.sum(axis)
    mean: Floats = np.full(total.shape, np.nan)
    np.divide(np.where(defined, values, 0.0).sum(axis), total, out=mean, where=total > 0)
    return mean


def card_names(outcomes: Outcomes, keys: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the model cards that keys belong to, each once, in order."""
    return tuple(dict.fromkeys(outcomes.models[key].name for key in keys))


def gradient_attacks(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the attacks that were crafted on surrogates: all but noise."""
    used = {cell.attack for cell in outcomes.cells if cell.surrogate is not None}
    return tuple(key for key in outcomes.attacks if key in used)


def noise_attacks(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the attacks without a surrogate."""
    used = {cell.attack for cell in outcomes.cells if cell.surrogate is None}
    return tuple(key for key in outcomes.attacks if key in used)


def transfer_grids(outcomes: Outcomes) -> list[TransferGrid]:
    """Return one grid per norm with outcomes of gradient attacks, in the order of the attacks."""
    attacks = gradient_attacks(outcomes)
    norms = dict.fromkeys(outcomes.attacks[key].norm for key in attacks)
    grids = [_grid(outcomes, norm, [key for key in attacks if outcomes.attacks[key].norm == norm]) for norm in norms]
    return [grid for grid in grids if grid.surrogates and grid.targets]


def _grid(outcomes: Outcomes, norm: str, attacks: Sequence[str]) -> TransferGrid:
    targets = scored_targets(outcomes)
    done: dict[tuple[str, float], set[tuple[str, str]]] = {}
    for cell in outcomes.cells:
        if cell.surrogate is not None and cell.attack in attacks and cell.target in targets:
            done.setdefault((cell.attack, cell.epsilon), set()).add((cell.surrogate, cell.target))
    pairs = set().union(*done.values())
    sizes = [epsilon for epsilon in outcomes.epsilons if epsilon > 0]
    finished = [key for key in attacks if any(done.get((key, epsilon), set()) == pairs for epsilon in sizes)]
    complete = [epsilon for epsilon in sizes if all(done.get((key, epsilon), set()) == pairs for key in finished)]
    used = {surrogate for surrogate, _ in pairs}
    return TransferGrid(
        outcomes=outcomes,
        norm=norm,
        attacks=tuple(finished),
        unfinished=tuple(key for key in attacks if key not in finished),
        surrogates=tuple(key for key in outcomes.surrogates if key in used),
        targets=targets,
        epsilons=(0.0, *complete) if finished else (0.0,),
    )
