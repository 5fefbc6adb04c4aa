"""What every cell counts: images that are right, fooled, common, passed on; for all targets of a crafting at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..storing.bits import Bits, how_many, to_bits
from ..storing.cells import Answers, OutcomeBlock
from ..storing.keys import IMPORTED, CraftingKey
from ..storing.outcomes import Outcomes
from .metrics import Floats
from .transfer import scored_targets


class CountedRows(NamedTuple):
    """Rows of the table as numbers, R of them; counts are of images, -1 where there is nothing to count.

    Attributes:
        surrogate: its place among models, ensembles, `IMPORTED` and None.
        target: its place among the models.
        attack: its place among the attacks.
        epsilon: perturbation sizes; 0 for the clean images.
        right: images that are right.
        fooled: right when clean, and wrong.
        common: of the common images, those that are wrong.
        open: that fooled the surrogate, and that the target gets right when clean.
        passed_on: of these, those that fool the target.
        both: that surrogate and target get wrong.
        agreeing: of these, those that they take for the same class.
    """

    surrogate: NDArray[np.int64]
    target: NDArray[np.int64]
    attack: NDArray[np.int64]
    epsilon: Floats
    right: NDArray[np.int64]
    fooled: NDArray[np.int64]
    common: NDArray[np.int64]
    open: NDArray[np.int64]
    passed_on: NDArray[np.int64]
    both: NDArray[np.int64]
    agreeing: NDArray[np.int64]


class Counting:
    """Counts images, crafting by crafting, for all targets of it at once."""

    def __init__(self, outcomes: Outcomes, compared: Sequence[str]) -> None:
        self.outcomes, count = outcomes, len(outcomes.labels)
        self.targets = set(scored_targets(outcomes))
        self.surrogates: dict[str | None, int] = {
            key: place for place, key in enumerate((*outcomes.models, *outcomes.ensembles, IMPORTED, None))
        }
        self.attacks = {key: place for place, key in enumerate(outcomes.attacks)}
        self.everything = to_bits(np.ones(count, bool))
        right = {key: to_bits(predicted == outcomes.labels) for key, predicted in outcomes.clean.items()}
        # By the models' places; rows of models without a clean pass are never asked for.
        self.clean = np.stack([right.get(key, self.everything) for key in outcomes.models] or [self.everything])
        self.among = np.bitwise_and.reduce([right[key] for key in compared]) if compared else self.everything
        self.is_compared = np.array([key in compared for key in outcomes.models], bool)

    def rows(self) -> CountedRows:
        """Return all rows, in the table's order: by surrogate, target, attack and epsilon."""
        cells = self.outcomes.cells
        found = cells.answers(place for crafting in cells.craftings for place in cells.places(crafting))
        parts = [
            self._attacked(crafting, [*islice(found, len(cells.places(crafting)))]) for crafting in cells.craftings
        ]
        attacked = _joined(parts)
        whole = _joined([self._clean(attacked), attacked])
        order = np.lexsort((whole.epsilon, whole.attack, whole.target, whole.surrogate))
        sorted_columns: list[Any] = [column[order] for column in whole]
        return CountedRows(*sorted_columns)

    def _attacked(self, crafting: CraftingKey, blocks: Sequence[tuple[OutcomeBlock, Answers]]) -> CountedRows:
        """Return the rows of one crafting."""
        own_key = crafting.surrogate
        seen = [(key, right) for block, found in blocks for key, right in zip(block.targets, found.right, strict=True)]
        own = next((right for key, right in seen if key == own_key), None)
        kept = [place for place, (key, _) in enumerate(seen) if key in self.targets]
        target = np.array([self.surrogates[seen[place][0]] for place in kept], np.int64)
        right = np.stack([bits for _, bits in seen])[kept]
        agreeing = np.concatenate([found.agreeing for _, found in blocks])[kept]
        if own is not None and (agreeing < 0).any():
            agreeing = self._agreeing(crafting)[kept]
        return self._counted(crafting, target, right, own, agreeing)

    def _agreeing(self, crafting: CraftingKey) -> NDArray[np.int64]:
        """Count, target by target, the images that surrogate and target take for the same wrong class."""
        cells, labels = self.outcomes.cells, self.outcomes.labels
        predicted = [*cells.predictions(cells.places(crafting))]
        keys = [key for block, _ in predicted for key in block.targets]
        classes = np.concatenate([found for _, found in predicted])
        own = classes[keys.index(str(crafting.surrogate))]
        return np.asarray(((classes == own) & (own != labels)).sum(-1))

    def _counted(
        self,
        crafting: CraftingKey,
        target: NDArray[np.int64],
        right: Bits,
        own: Bits | None,
        agreeing: NDArray[np.int64],
    ) -> CountedRows:
        before, unknown = self.clean[target], np.full(len(target), -1)
        fooled = before & ~right
        common = np.where(self.is_compared[target], how_many(fooled & self.among), -1)
        shared = (unknown, unknown, unknown, unknown)
        if own is not None:
            taken_in = self.clean[self.surrogates[crafting.surrogate]] & ~own
            shared = (
                how_many(taken_in & before),
                how_many(taken_in & fooled),
                how_many(~own & ~right & self.everything),
                agreeing,
            )
        where = (
            np.full(len(target), self.surrogates[crafting.surrogate]),
            target,
            np.full(len(target), self.attacks[crafting.attack]),
            np.full(len(target), crafting.epsilon),
        )
        return CountedRows(*where, how_many(right), how_many(fooled), common, *shared)

    def _clean(self, attacked: CountedRows) -> CountedRows:
        """Return the rows at epsilon 0, one per curve."""
        models, attacks = len(self.is_compared), len(self.attacks)
        curves = np.unique((attacked.surrogate * attacks + attacked.attack) * models + attacked.target)
        crafted, starts = np.unique(curves // models, return_index=True)
        parts = []
        for code, some in zip(crafted.tolist(), np.split(curves % models, starts)[1:], strict=True):
            surrogate, attack = divmod(code, attacks)
            crafting = CraftingKey([*self.surrogates][surrogate], [*self.attacks][attack], 0.0)
            own = self.clean[surrogate] if surrogate in some else None
            agreeing = self._same_errors(surrogate)[some] if own is not None else some
            parts.append(self._counted(crafting, some, self.clean[some], own, agreeing))
        return _joined(parts)

    @cache  # noqa: B019 (it lives as long as one table is made)
    def _same_errors(self, surrogate: int) -> NDArray[np.int64]:
        """Count, by the models' places, the clean images that they and a surrogate take for the same wrong class."""
        clean, labels = self.outcomes.clean, self.outcomes.labels
        own = clean[[*self.outcomes.models][surrogate]]
        wrong = own != labels
        return np.array([((clean[key] == own) & wrong).sum() if key in clean else 0 for key in self.outcomes.models])


def _joined(parts: Sequence[CountedRows]) -> CountedRows:
    """Put rows under each other."""
    if not parts:
        empty = np.zeros(0, np.int64)
        parts = [CountedRows(empty, empty, empty, empty.astype(np.float64), *[empty] * 7)]
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return CountedRows(*columns)
