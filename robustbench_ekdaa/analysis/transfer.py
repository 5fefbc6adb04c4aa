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

from ..storing.bits import Bits, from_bits, how_many, to_bits
from ..storing.keys import CraftingKey
from ..storing.outcomes import Outcomes, Relation, read_only
from .metrics import Bools, Floats

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
        rows: dict[str | None, int] = {key: i for i, key in enumerate(self.surrogates)}
        columns = {key: j for j, key in enumerate(self.targets)}
        tables = {attack: np.zeros((len(rows), len(columns)), bool) for attack in self.attacks}
        for block in self.outcomes.cells.blocks:
            surrogate, attack, _ = block.crafting
            if surrogate is not None and attack in tables:
                tables[attack][rows[surrogate], [columns[key] for key in block.targets if key in columns]] = True
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

    @cached_property
    def clean(self) -> Bits:
        """Which clean images each target gets right, as bits, (T, B)."""
        outcomes = self.outcomes
        return to_bits(np.stack([outcomes.clean[key] == outcomes.labels for key in self.targets]))

    def right_bits(self, epsilon: float, attack: str | None = None) -> Bits:
        """Which images each target still gets right, as bits, (S, T, B): under one attack, or all on the surrogate.

        Under all, it asks that the clean image was right too, and the array cannot be written to. Pairs without
        outcomes are False.
        """
        if attack is not None:
            everything = to_bits(np.ones(len(self.outcomes.labels), bool))
            start = everything if epsilon > 0 else self.clean
            return self._right_under((attack,), epsilon, self.scored_under(attack), start)
        if epsilon not in self._right_under_all:  # nearly every number of a report and every check starts from it
            known = self._right_under(self.attacks, epsilon, self.scored, self.clean)
            self._right_under_all[epsilon] = read_only(known)
        return self._right_under_all[epsilon]

    @cached_property
    def _right_under_all(self) -> dict[float, Bits]:
        return {}

    def _right_under(self, attacks: Sequence[str], epsilon: float, scored: Bools, before: Bits) -> Bits:
        """Return what is right under some attacks of those images that were right before, as bits, (S, T, B)."""
        answer = np.where(scored[:, :, None], before, np.uint8(0))
        if epsilon == 0:
            return answer
        # Attacks on single models have no outcomes on ensembles, nor the other way round.
        cells, columns = self.outcomes.cells, {key: j for j, key in enumerate(self.targets)}
        rows = {CraftingKey(key, one, epsilon): i for i, key in enumerate(self.surrogates) for one in attacks}
        places = [place for crafting in rows for place in cells.places(crafting)]
        for block, answers in cells.answers(places):
            counted = [place for place, key in enumerate(block.targets) if key in columns]
            answer[rows[block.crafting], [columns[block.targets[place]] for place in counted]] &= answers.right[counted]
        return answer

    def right(self, epsilon: float, attack: str | None = None) -> Bools:
        """Return `right_bits` as booleans, (S, T, N)."""
        return from_bits(self.right_bits(epsilon, attack), len(self.outcomes.labels))

    def right_on_itself(self, epsilon: float, attacks: Sequence[str]) -> Bits:
        """Which images each target gets right under some attacks on the target itself, as bits, (T, B).

        An attack without outcomes there counts as one that leaves everything right.
        """
        cells, columns = self.outcomes.cells, {key: j for j, key in enumerate(self.targets)}
        answer = np.repeat(to_bits(np.ones((1, len(self.outcomes.labels)), bool)), len(columns), 0)
        for (crafting, seen), answers in cells.answers(cells.on_itself(attacks, epsilon) if epsilon > 0 else ()):
            if (key := str(crafting.surrogate)) in columns:
                answer[columns[key]] &= answers.right[seen.index(key)]
        return answer

    def worst_case_bits(self, epsilon: float, attack: str | None = None) -> Bits:
        """Which images each target gets right before and under every attack that a holder of a model has, (H, T, B).

        These are the attacks on the model and on the ensembles it is a member of, or one of them; ensembles that hold
        the target do not count. Where a pair has no attack at all, this is True: `pairs` leaves it out.
        """
        everything = to_bits(np.ones(len(self.outcomes.labels), bool))
        right, scored = self.right_bits(epsilon, attack), self.scored
        if attack is not None:
            right, scored = right & self.clean, self.scored_under(attack)
        allowed = scored & ~self._known
        spared = np.where(allowed[:, :, None], right, everything)
        return np.stack([np.bitwise_and.reduce(spared[rows], axis=0) for rows in self._held])

    def right_in_the_worst_case(self, epsilon: float, attack: str | None = None) -> Bools:
        """Return `worst_case_bits` as booleans, (H, T, N)."""
        return from_bits(self.worst_case_bits(epsilon, attack), len(self.outcomes.labels))

    # -- means -------------------------------------------------------------------------------------------------------

    def target_accuracy(self, attack: str | None = None) -> Floats:
        """Return each target's accuracy at every epsilon, the mean over surrogate cards, (E, T)."""
        pairs = self.pairs if attack is None else self.pairs_under(attack)
        bits = (
            self.worst_case_bits(epsilon) if attack is None else self.right_bits(epsilon, attack)
            for epsilon in self.epsilons
        )
        return pairs.mean(np.stack([how_many(some) / len(self.outcomes.labels) for some in bits]))

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
        right = how_many(self.worst_case_bits(epsilon) & to_bits(among)) / among.sum()
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
    used = {crafting.attack for crafting in outcomes.cells.craftings if crafting.surrogate is not None}
    return tuple(key for key, record in outcomes.attacks.items() if key in used and not record.imported)


def noise_attacks(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the keys of the attacks without a surrogate."""
    used = {crafting.attack for crafting in outcomes.cells.craftings if crafting.surrogate is None}
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
    together = {crafting.attack for crafting in outcomes.cells.craftings if crafting.surrogate in outcomes.ensembles}
    pairs: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}  # of ensembles, of single models
    for (surrogate, attack, epsilon), seen in outcomes.cells.blocks:
        if surrogate is not None and attack in attacks:
            found = {(surrogate, target) for target in seen if target in targets}
            done.setdefault((attack, epsilon), set()).update(found)
            pairs[attack in together] |= found

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
