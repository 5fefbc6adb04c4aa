"""What each target card keeps of the attacks of one norm: of any surrogates', of the worst one's, and of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from ..names import folded
from ..storing.bits import Bits, from_bits
from ..storing.keys import CraftingKey
from ..storing.outcomes import ModelRecord, Outcomes
from .kept import Groups, Kept, Masks, averaged, kept_by, surrogate_weights
from .metrics import Bools, Floats, accuracy
from .scores import AT_ONE_EPSILON, Values, per_image
from .transfer import TransferGrid

# Attacks of other libraries that only ask a model, in the libraries' own words.
ASKING = {
    "BoundaryAttack",
    "GenAttack",
    "GeoDA",
    "HopSkipJump",
    "HopSkipJumpAttack",
    "PointwiseAttack",
    "SignOPTAttack",
    "SimBA",
    "SquareAttack",
    "ThresholdAttack",
    "ZooAttack",
}


class Arena:
    """The attacks of one norm on all targets, reduced to one statistic.

    Args:
        grid: the attacks.
        metric: see `per_image`.
        epsilon: for metrics at one epsilon.
    """

    def __init__(self, grid: TransferGrid, metric: str, epsilon: float) -> None:
        self.grid = grid
        self.metric = metric
        self.epsilons = (epsilon,) if metric in AT_ONE_EPSILON else grid.epsilons
        models = grid.outcomes.models
        self.surrogates = [models[key] for key in grid.holders]
        self.targets = [models[key] for key in grid.targets]
        self.left_out = (None, *sorted({model.seed for model in (*self.surrogates, *self.targets)}))
        self._found: dict[object, dict[str, Kept]] = {}

    @property
    def outcomes(self) -> Outcomes:
        """All that the run holds on the data set."""
        return self.grid.outcomes

    @cached_property
    def clean_accuracy(self) -> dict[str, float]:
        """Each target card's clean accuracy, the mean over its seeds."""
        seen: dict[str, list[float]] = {}
        for model in self.targets:
            right = float(accuracy(self.outcomes.clean[model.key], self.outcomes.labels))
            seen.setdefault(model.name, []).append(right)
        return {name: float(np.mean(shares)) for name, shares in seen.items()}

    @cached_property
    def following_attacks(self) -> tuple[str, ...]:
        """The keys of the attacks that follow gradients of single models."""
        records = self.outcomes.attacks
        return tuple(key for key in self.grid.attacks if key not in self.asking_attacks and not records[key].together)

    @cached_property
    def asking_attacks(self) -> tuple[str, ...]:
        """The keys of the attacks that follow no gradient, and only ask the model."""
        return asking_attacks(self.grid)

    @cached_property
    def minimal_norm_attacks(self) -> tuple[str, ...]:
        """The keys of the attacks that follow gradients to the smallest perturbation that fools."""
        return minimal_norm_attacks(self.grid)

    # -- attackers ---------------------------------------------------------------------------------------------------

    def under(self, groups: Groups) -> dict[str, Kept]:
        """Return what each target card keeps on average over surrogates, by the cards' names.

        Args:
            groups: rows of `surrogates` by kind and card; kinds and cards weigh the same.
        """
        place = tuple(tuple(tuple(rows) for rows in kind) for kind in groups)
        if place not in self._found:
            seeds = [model.seed for model in self.surrogates]
            weights = surrogate_weights(self.grid.pairs.counted, seeds, groups, self.left_out)
            used = sorted({row for kind in place for rows in kind for row in rows})
            means = averaged(self._values[used], weights[:, used])
            self._found[place] = self._by_card(means, weights[0].sum(0) > 0.5, {self.surrogates[i].seed for i in used})
        return self._found[place]

    @cached_property
    def strongest(self) -> dict[str, Kept]:
        """What each target card keeps where every image meets the surrogate that is worst for it."""
        counted, seeds = self.grid.pairs.counted, np.array([model.seed for model in self.surrogates])
        means = np.zeros((len(self.left_out), len(self.targets), len(self.outcomes.labels)), np.float32)
        for j in range(len(self.targets)):
            for place, seed in enumerate(self.left_out):
                rows = counted[:, j] & (seeds != seed)
                rows = rows if rows.any() else counted[:, j]
                worst = (np.bitwise_and.reduce(right[rows, j], axis=0) for right in self._right)
                means[place, j] = self._statistic([from_bits(right, len(self.outcomes.labels)) for right in worst])
        return self._by_card(means, np.asarray(counted.any(0)), {model.seed for model in self.surrogates})

    def itself(self, attacks: Sequence[str]) -> dict[str, Kept]:
        """Return what each target card keeps where the target itself is attacked by all of some attacks."""
        place = ("itself", *attacks)
        if place not in self._found:
            right = [self._own(attacks, epsilon) for epsilon in self.epsilons]
            there = np.array([self._attacked(model.key, attacks) for model in self.targets])
            once = self._statistic(right)[None]
            self._found[place] = self._by_card(np.repeat(once, len(self.left_out), 0).astype(np.float64), there, set())
        return self._found[place]

    def own_accuracy(self, attacks: Sequence[str]) -> Floats:
        """Return each target's accuracy before and under all of some attacks on itself, by epsilon, (E, T)."""
        there = [self._attacked(model.key, attacks) for model in self.targets]
        shares = np.stack([self._own(attacks, epsilon).mean(-1) for epsilon in self.epsilons])
        return np.where(there, shares, np.nan)

    # -- surrogates --------------------------------------------------------------------------------------------------

    def rows(self, models: Iterable[ModelRecord]) -> list[list[int]]:
        """Return the rows of some surrogates by card, in the order of `surrogates`."""
        wanted = {model.key for model in models}
        cards: dict[str, list[int]] = {}
        for row, model in enumerate(self.surrogates):
            if model.key in wanted:
                cards.setdefault(model.name, []).append(row)
        return list(cards.values())

    @cached_property
    def foreign(self) -> list[ModelRecord]:
        """The surrogates of architectures that no target has, and that are marked as such."""
        return [model for model in self.surrogates if model.key in self.outcomes.foreign]

    def crossed(self, *rules: str) -> list[ModelRecord]:
        """Return the foreign surrogates whose architecture was trained by all of some rules and by another one."""
        by_network: dict[object, set[str]] = {}
        for model in self.foreign:
            by_network.setdefault(network_of(model), set()).add(folded(model.rule))
        wanted = {folded(rule) for rule in rules}
        return [model for model in self.foreign if wanted < by_network[network_of(model)]]

    # -- images ------------------------------------------------------------------------------------------------------

    def common(self, *cards: str) -> Masks:
        """Return the images that all models of some cards get right when clean."""
        models = [model for model in self.targets if model.name in cards]
        right = np.stack([self.outcomes.clean[model.key] == self.outcomes.labels for model in models])
        rows = [[model.seed != seed for model in models] for seed in self.left_out]
        masks = np.stack([right[some].all(0) if any(some) else right.all(0) for some in rows])
        return Masks(masks[0], masks[1:])

    def _statistic(self, right: Iterable[Bools]) -> Values:
        return per_image(self.metric, self.epsilons, right)

    @cached_property
    def _right(self) -> list[Bits]:
        """Which images each target gets right before and under all attacks of each surrogate, by epsilon, (H, T, B)."""
        return [self.grid.worst_case_bits(epsilon) for epsilon in self.epsilons]

    @cached_property
    def _values(self) -> Values:
        return self._statistic(from_bits(right, len(self.outcomes.labels)) for right in self._right)

    def _own(self, attacks: Sequence[str], epsilon: float) -> Bools:
        """Return which images each target gets right before and under attacks on itself, (T, N)."""
        return from_bits(self.grid.clean & self.grid.right_on_itself(epsilon, attacks), len(self.outcomes.labels))

    def _attacked(self, target: str, attacks: Sequence[str]) -> bool:
        cells = self.outcomes.cells
        places = [CraftingKey(target, attack, self.epsilons[-1]) for attack in attacks]
        return bool(attacks) and all(cells.has(place, target) for place in places)

    def _by_card(self, means: Floats | Values, there: Bools, attacking: set[int]) -> dict[str, Kept]:
        """Average over each card's models that were attacked; cards with none are left out.

        Args:
            means: (1 + K, T, N).
            there: which targets were attacked, (T,).
            attacking: the surrogates' seeds.
        """
        cards = {}
        for name in dict.fromkeys(model.name for model in self.targets):
            own = [j for j, model in enumerate(self.targets) if model.name == name and there[j]]
            if own:
                seeds = [self.targets[j].seed for j in own]
                active = np.array([seed in attacking or seed in seeds for seed in self.left_out[1:]])
                cards[name] = kept_by(np.asarray(means[:, own], np.float64), seeds, self.left_out, active)
        return cards


def white_box_accuracy(grid: TransferGrid) -> Floats:
    """Return each target's accuracy before and under all gradient attacks on itself, at every epsilon, (E, T).

    NaN for targets that were not attacked by all of them.
    """
    arena = Arena(grid, "area", grid.epsilons[-1])  # a metric over all epsilons
    return arena.own_accuracy(arena.following_attacks)


def network_of(model: ModelRecord) -> object:
    """Return what tells a model's architecture from others; models trained elsewhere have one by card."""
    return model.metrics.get("network") or model.name


def minimal_norm_attacks(grid: TransferGrid) -> tuple[str, ...]:
    """Return the keys of the attacks that follow gradients to the smallest perturbation that fools."""
    known = {crafting.attack for crafting, facts in grid.outcomes.craftings.items() if "median_norm" in facts}
    asking = asking_attacks(grid)
    return tuple(key for key in grid.attacks if key in known and key not in asking)


def asking_attacks(grid: TransferGrid) -> tuple[str, ...]:
    """Return the keys of the attacks that follow no gradient, and only ask the model."""
    adapters = {key: grid.outcomes.attacks[key].card.get("adapter") or {} for key in grid.attacks}
    return tuple(key for key, adapter in adapters.items() if adapter.get("attack") in ASKING)
