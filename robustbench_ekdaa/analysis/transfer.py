"""Accuracy under transfer: which (surrogate, target) pairs count, and how they are averaged.

For a target, every surrogate *card* weighs the same, whatever the number of its seeds: a learning rule must not look
robust because most surrogates were of another family. A model attacked on itself (white-box),
or on another epoch of its own training, never counts. Nor does a pair of different cards with the same training seed,
where the card has other seeds: all cards draw their first weights from the seed, so such a pair started as one network,
and the attacker would know more than an attacker can.

Who holds a model can attack on it alone, and on every ensemble that it is a member of. So the worst case of a
(surrogate, target) pair is over the attacks crafted on the surrogate and on its ensembles, and another attack can only
lower it. An ensemble that holds the target itself is white-box, and left out of the pair's worst case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..scoring.outcomes import OutcomeKey, Outcomes, Relation, read_only
from .metrics import Bools, Floats

Predictions = NDArray[np.int64]
KNOWN: tuple[Relation, ...] = ("white-box", "same-training")  # no attack from outside: these pairs enter no mean


def scored_targets(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the targets that were trained and have seen the clean images, in the sweep's order."""
    models = outcomes.models
    return tuple(
        key
        for key in outcomes.targets
        if models[key].status == "trained" and key in outcomes.clean and len(outcomes.labels)
    )


@dataclass(frozen=True)
class CountedPairs:
    """Which pairs of S surrogates (models or ensembles) and T targets enter a mean over surrogates.

    Attributes:
        cards: of each surrogate, the name of its model card, or of its members' cards together, (S,).
        seeds: its training seed, (S,).
        counted: which pairs enter the mean, (S, T).
    """

    cards: tuple[str, ...]
    seeds: tuple[int, ...]
    counted: Bools

    @classmethod
    def of(cls, outcomes: Outcomes, keys: Sequence[str], transfer: Bools, other_start: Bools) -> CountedPairs:
        """Let those pairs count that are no white-box, and of another start where a card has one."""
        cards = tuple(outcomes.record(key).name for key in keys)
        counted = np.zeros_like(transfer)
        for rows in _rows_by_card(cards):
            counted[rows] = np.where(other_start[rows].any(0), other_start[rows], transfer[rows])
        return cls(cards, tuple(outcomes.record(key).seed for key in keys), counted)

    def mean(self, values: Floats) -> Floats:
        """Average over surrogates, each card weighing the same; arguments as of `means_by_card`.

        Returns:
            one number per target, (..., T); NaN for a target that no other model attacked.
        """
        return mean_of_defined(self.means_by_card(values), axis=0)

    def means_by_card(self, values: Floats) -> Floats:
        """Average over the surrogates of each card, in the order of `surrogate_cards`.

        Args:
            values: one number per pair, (..., S, T).

        Returns:
            one number per surrogate card and target, (C, ..., T); NaN for a target that no model of the card attacked.
        """
        means = []
        for rows in _rows_by_card(self.cards):
            allowed = self.counted[rows].astype(np.float64)
            part = np.where(allowed > 0, values[..., rows, :], 0.0)
            total = allowed.sum(-2)
            mean = np.full(part.shape[:-2] + part.shape[-1:], np.nan)
            np.divide((allowed * part).sum(-2), total, out=mean, where=total > 0)
            means.append(mean)
        return np.stack(means)

    @property
    def surrogate_cards(self) -> tuple[str, ...]:
        """The names of the surrogates' cards, each once, (C,)."""
        return tuple(dict.fromkeys(self.cards))


def _rows_by_card(cards: Sequence[str]) -> list[list[int]]:
    return [[i for i, name in enumerate(cards) if name == one] for one in dict.fromkeys(cards)]


@dataclass(frozen=True)
class TransferGrid:
    """The gradient attacks of one norm on one data set: surrogates S, targets T, images N.

    Attributes:
        norm: "linf", "l2" or "l1"; epsilons of different norms cannot be compared, so a worst case never mixes them.
        attacks: keys of the attacks that were finished on all pairs at some epsilon; neither noise nor imported images
            are among them.
        unfinished: keys of the others.
        surrogates: keys of what was attacked on, models first, then ensembles.
        targets: keys of the models that were scored.
        epsilons: those at which all `attacks` were finished on all pairs; the first is 0.
    """

    outcomes: Outcomes
    norm: str
    attacks: tuple[str, ...]
    unfinished: tuple[str, ...]
    surrogates: tuple[str, ...]
    targets: tuple[str, ...]
    epsilons: tuple[float, ...]

    @cached_property
    def predictions(self) -> dict[OutcomeKey, Predictions]:
        """What was predicted for images crafted on surrogates."""
        return {cell.key: cell.predictions for cell in self.outcomes.cells if cell.surrogate is not None}

    @cached_property
    def cards(self) -> tuple[str, ...]:
        """The names of the targets' model cards, in the sweep's order."""
        return card_names(self.outcomes, self.targets)

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The keys of the ensembles among the surrogates."""
        return tuple(key for key in self.surrogates if key in self.outcomes.ensembles)

    # -- pairs -------------------------------------------------------------------------------------------------------

    @cached_property
    def scored(self) -> Bools:
        """Which pairs have outcomes, (S, T)."""
        anywhere = np.zeros((len(self.surrogates), len(self.targets)), bool)
        for table in self._scored.values():
            anywhere |= table
        return anywhere

    def scored_under(self, attack: str) -> Bools:
        """Which pairs have outcomes of one attack, (S, T)."""
        return self._scored[attack]

    @cached_property
    def _scored(self) -> dict[str, Bools]:
        tables = {attack: np.zeros((len(self.surrogates), len(self.targets)), bool) for attack in self.attacks}
        for cells in self._cells_at.values():
            for i, j, attack, _ in cells:
                tables[attack][i, j] = True
        return tables

    @cached_property
    def _relations(self) -> NDArray[np.str_]:
        relation = self.outcomes.relation
        return np.array([[relation(surrogate, target) for target in self.targets] for surrogate in self.surrogates])

    @property
    def _known(self) -> Bools:
        """Which surrogates are the target itself, or another epoch of its training, (S, T)."""
        known: Bools = np.isin(self._relations, KNOWN)
        return known

    @property
    def white_box(self) -> Bools:
        """Which pairs have outcomes of a target attacked on itself, alone or in an ensemble, (S, T)."""
        own: Bools = self.scored & (self._relations == "white-box")
        return own

    @cached_property
    def holders(self) -> tuple[str, ...]:
        """The keys of the models that were attacked on, alone or in an ensemble, H of them."""
        held = {member for surrogate in self.surrogates for member in self.outcomes.members(surrogate)}
        return tuple(key for key in self.outcomes.models if key in held)

    @cached_property
    def _held(self) -> Bools:
        """Which model each surrogate is or has as a member, (H, S)."""
        members = [self.outcomes.members(surrogate) for surrogate in self.surrogates]
        return np.array([[model in some for some in members] for model in self.holders])

    @cached_property
    def pairs(self) -> CountedPairs:
        """The pairs that enter means of the worst case: the `holders` and the targets."""
        transfer = self.scored & ~self._known
        other_start = transfer & (self._relations != "same-start")
        held = self._held[:, :, None]
        tables = [np.logical_or.reduce(held & table, axis=1) for table in (transfer, other_start)]
        return CountedPairs.of(self.outcomes, self.holders, *tables)

    def pairs_under(self, attack: str) -> CountedPairs:
        """The pairs that enter means of one attack: the `surrogates` that it was crafted on, and the targets."""
        transfer = self.scored_under(attack) & ~self._known
        return CountedPairs.of(self.outcomes, self.surrogates, transfer, transfer & (self._relations != "same-start"))

    def pairs_attacked_by(self, attack: str) -> CountedPairs:
        """The `pairs` whose holder has outcomes of one attack, alone or in an ensemble."""
        transfer = self.scored_under(attack) & ~self._known
        there = np.stack([transfer[rows].any(0) for rows in self._held])
        return replace(self.pairs, counted=self.pairs.counted & there)

    @cached_property
    def counted_attacks(self) -> tuple[str, ...]:
        """The attacks that some pair counts for in means; an ensemble may hold every target."""
        return tuple(attack for attack in self.attacks if self.pairs_under(attack).counted.any())

    @cached_property
    def counts_same_start(self) -> bool:
        """Whether a pair that started from the same weights had to count, for want of another seed of its card."""
        relation = self.outcomes.relation
        same = [[relation(model, target) == "same-start" for target in self.targets] for model in self.holders]
        return bool((self.pairs.counted & np.array(same)).any())

    # -- images ------------------------------------------------------------------------------------------------------

    def right(self, epsilon: float, attack: str | None = None) -> Bools:
        """Which images each target still gets right, (S, T, N): under one attack, or all crafted on the surrogate.

        Under all, it asks that the clean image was right too, and the array cannot be written to. Pairs without
        outcomes are False.
        """
        if attack is not None:
            return self._right_under((attack,), epsilon, self.scored_under(attack), self._right_before(epsilon))
        if epsilon not in self._right_under_all:  # nearly every number of a report and every check starts from it
            known = self._right_under(self.attacks, epsilon, self.scored, self._right_before(0.0))
            self._right_under_all[epsilon] = read_only(known)
        return self._right_under_all[epsilon]

    @cached_property
    def _right_under_all(self) -> dict[float, Bools]:
        return {}

    def _right_before(self, epsilon: float) -> Bools:
        """Return which images an attack starts from: those right when clean, for epsilon 0, or all, (T, N)."""
        labels, clean = self.outcomes.labels, self.outcomes.clean
        if epsilon == 0:
            return np.stack([clean[target] == labels for target in self.targets])
        return np.ones((len(self.targets), len(labels)), bool)

    def _right_under(self, attacks: Sequence[str], epsilon: float, scored: Bools, before: Bools) -> Bools:
        """Return what is right under some attacks of those images that were right before, (S, T, N)."""
        labels, answer = self.outcomes.labels, scored[:, :, None] & before
        # Attacks on single models have no outcomes on ensembles, nor the other way round.
        for i, j, attack, predicted in self._cells_at.get(epsilon, ()):
            if attack in attacks:
                answer[i, j] &= predicted == labels
        return answer

    @cached_property
    def _cells_at(self) -> dict[float, list[tuple[int, int, str, Predictions]]]:
        """What was predicted at each epsilon, with the rows and columns of surrogates and targets."""
        rows: dict[str | None, int] = {key: i for i, key in enumerate(self.surrogates)}
        columns = {key: j for j, key in enumerate(self.targets)}
        found: dict[float, list[tuple[int, int, str, Predictions]]] = {}
        for key, predicted in self.predictions.items():
            if key.attack in self.attacks and key.target in columns:
                place = rows[key.surrogate], columns[key.target], key.attack, predicted
                found.setdefault(key.epsilon, []).append(place)
        return found

    def right_pair(self, i: int, j: int, epsilon: float, attack: str) -> Bools:
        """Which images the target j still gets right under one attack on the surrogate i, (N,); see `right`.

        Where there are no outcomes at this epsilon above 0, this is True.
        """
        key = OutcomeKey(self.surrogates[i], attack, epsilon, self.targets[j])
        known = self.predictions.get(key)
        return np.ones(len(self.outcomes.labels), bool) if known is None else known == self.outcomes.labels

    def right_in_the_worst_case(self, epsilon: float, attack: str | None = None) -> Bools:
        """Which images each target gets right before and under every attack that a holder of a model has, (H, T, N).

        These are the attacks on the model and on the ensembles it is a member of, or one of them; ensembles that hold
        the target do not count. Where a pair has no attack at all, this is True: `pairs` leaves it out.
        """
        right, scored = self.right(epsilon, attack), self.scored
        if attack is not None:
            right &= np.stack([self.outcomes.clean[key] == self.outcomes.labels for key in self.targets])
            scored = self.scored_under(attack)
        allowed = scored & ~self._known
        spared = right | ~allowed[:, :, None]
        return np.stack([spared[rows].all(0) for rows in self._held])

    # -- means -------------------------------------------------------------------------------------------------------

    def target_accuracy(self, attack: str | None = None) -> Floats:
        """Return each target's accuracy at every epsilon, the mean over surrogate cards, (E, T)."""
        if attack is None:
            means = [self.right_in_the_worst_case(epsilon).mean(-1) for epsilon in self.epsilons]
            return self.pairs.mean(np.stack(means))
        means = [self.right(epsilon, attack).mean(-1) for epsilon in self.epsilons]
        return self.pairs_under(attack).mean(np.stack(means))

    def over_seeds(self, values: Floats) -> Floats:
        """Average over the training seeds of each target card: (..., T) to (..., cards)."""
        columns = []
        for name in self.cards:
            own = [j for j, key in enumerate(self.targets) if self.outcomes.models[key].name == name]
            part = values[..., own]
            weights = np.where(np.isnan(part), 0.0, 1.0)
            total = weights.sum(-1)
            mean = np.full(total.shape, np.nan)
            np.divide((weights * np.nan_to_num(part)).sum(-1), total, out=mean, where=total > 0)
            columns.append(mean)
        return np.stack(columns, axis=-1)

    def curve(self, attack: str | None = None) -> Floats:
        """Return each target card's accuracy at every epsilon, averaged over surrogates and seeds, (E, cards)."""
        return self.over_seeds(self.target_accuracy(attack))

    def success_among(self, epsilon: float, among: Bools) -> Floats:
        """Return the share of some images that each target card no longer gets right in the worst case, (cards,).

        Averaged as `curve`; a rate of success for cards that get all these images right when clean. NaN for none.

        Args:
            epsilon: which of the grid's epsilons.
            among: which images count, (N,).
        """
        if not among.any():
            return np.full(len(self.cards), np.nan)
        right = self.right_in_the_worst_case(epsilon)[..., among].mean(-1)
        return 1 - self.over_seeds(self.pairs.mean(right))


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
    """Return the keys of the attacks that were crafted on surrogates in sweeps: all but noise and imported images."""
    used = {cell.attack for cell in outcomes.cells if cell.surrogate is not None}
    return tuple(key for key, record in outcomes.attacks.items() if key in used and not record.imported)


def noise_attacks(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the attacks without a surrogate."""
    used = {cell.attack for cell in outcomes.cells if cell.surrogate is None}
    return tuple(key for key, record in outcomes.attacks.items() if key in used and not record.imported)


def imported_attacks(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the attacks whose images came from files."""
    return tuple(key for key, record in outcomes.attacks.items() if record.imported)


def transfer_grids(outcomes: Outcomes) -> tuple[TransferGrid, ...]:
    """Return one grid per norm with outcomes of gradient attacks, in the order of the attacks."""
    if "grids" not in outcomes.derived:
        outcomes.derived["grids"] = _grids(outcomes)
    grids: tuple[TransferGrid, ...] = outcomes.derived["grids"]
    return grids


def _grids(outcomes: Outcomes) -> tuple[TransferGrid, ...]:
    attacks = gradient_attacks(outcomes)
    norms = dict.fromkeys(outcomes.attacks[key].norm for key in attacks)
    grids = [_grid(outcomes, norm, [key for key in attacks if outcomes.attacks[key].norm == norm]) for norm in norms]
    return tuple(grid for grid in grids if grid.surrogates and grid.targets)


def _grid(outcomes: Outcomes, norm: str, attacks: Sequence[str]) -> TransferGrid:
    targets = scored_targets(outcomes)
    done: dict[tuple[str, float], set[tuple[str, str]]] = {}
    together = {cell.attack for cell in outcomes.cells if cell.surrogate in outcomes.ensembles}
    pairs: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}  # of ensembles, of single models
    for cell in outcomes.cells:
        if cell.surrogate is not None and cell.attack in attacks and cell.target in targets:
            done.setdefault((cell.attack, cell.epsilon), set()).add((cell.surrogate, cell.target))
            pairs[cell.attack in together].add((cell.surrogate, cell.target))

    def is_finished(attack: str, epsilon: float) -> bool:
        return done.get((attack, epsilon), set()) == pairs[attack in together]

    attacked = [epsilon for epsilon in outcomes.epsilons if epsilon > 0]
    finished = [key for key in attacks if any(is_finished(key, epsilon) for epsilon in attacked)]
    complete = [epsilon for epsilon in attacked if all(is_finished(key, epsilon) for key in finished)]
    used = {surrogate for some in pairs.values() for surrogate, _ in some}
    return TransferGrid(
        outcomes=outcomes,
        norm=norm,
        attacks=tuple(finished),
        unfinished=tuple(key for key in attacks if key not in finished),
        surrogates=tuple(key for key in (*outcomes.surrogates, *outcomes.ensembles) if key in used),
        targets=targets,
        epsilons=(0.0, *complete) if finished else (0.0,),
    )
