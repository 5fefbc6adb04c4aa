"""Outcomes as the store's tables hold them: blocks of targets that saw the same images.

What is right lies in one table and the classes of the mistakes in another: nearly everything asks for the first alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cards import content_hash
from .bits import from_bits
from .cells import Answers, Classes
from .packing import (
    NAMES_FORM,
    pack_counts,
    pack_json,
    pack_mistakes,
    pack_right,
    unpack_counts,
    unpack_json,
    unpack_mistakes,
    unpack_right,
)
from .sealed import Damaged, SealedTables

RowKey = tuple[str, str, str, float, str]  # image set, surrogate, attack, epsilon, set of targets


class Row(NamedTuple):
    """Where a block of outcomes lies.

    Attributes:
        place: the row's key.
        size: of how many targets it is.
        shown: which of these are shown; None for all.
    """

    place: RowKey
    size: int
    shown: tuple[int, ...] | None = None


def target_sets(tables: SealedTables) -> dict[str, tuple[str, ...]]:
    """Return the sets of targets that outcomes are of, by key."""
    return {key: _targets(text) for key, text in tables.rows("target_sets")}


def _targets(text: Any) -> tuple[str, ...]:
    targets: list[str] = unpack_json(NAMES_FORM, text, "targets")
    return tuple(targets)


def count_agreeing(
    predictions: NDArray[np.integer[Any]], own: NDArray[np.integer[Any]] | None, labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count on how many images targets make the surrogate's own mistakes, (T,); -1 where these are not known."""
    if own is None:
        return np.full(len(predictions), -1)
    return np.asarray(((predictions == own) & (own != labels)).sum(-1))


def answers_of(tables: SealedTables, row: Row, count: int) -> Answers:
    """Read which of N images the targets of a row got right; raises Damaged for a row that is not there."""
    found = tables.row("outcomes", *row.place)
    if found is None:
        raise Damaged("outcomes lack a row")
    *_, right, agreeing = found
    return Answers(unpack_right(right, row.size, count), unpack_counts(agreeing, row.size))


def classes_of(tables: SealedTables, row: Row, labels: NDArray[np.int64], classes: int) -> Classes:
    """Read the classes that the targets of a row predicted, (T, N); raises Damaged."""
    right = from_bits(answers_of(tables, row, len(labels)).right, len(labels))
    found = tables.row("mistakes", *row.place)
    if found is None:
        raise Damaged("mistakes lack a row")
    return unpack_mistakes(found[-1], right, labels, classes)


@dataclass(frozen=True)
class WrittenBlocks:
    """Outcomes on some images, as they are written within a transaction.

    Attributes:
        tables: the store's.
        image_set: key of the images.
        labels: their true classes, (N,).
        classes_there: how many classes there are, K.
    """

    tables: SealedTables
    image_set: str
    labels: NDArray[np.int64]
    classes_there: int

    def put(self, crafted: tuple[str, str, float], group: Mapping[str, NDArray[np.integer[Any]]]) -> None:
        """Write what targets predicted, by their keys; it takes the place of what they predicted before.

        Args:
            crafted: surrogate, attack and epsilon, as the tables hold them.
            group: the classes that each target predicted, (N,).
        """
        for row in self._rows(*crafted):
            before = self._targets(row.place[-1])
            if not group.keys().isdisjoint(before):
                kept = dict(zip(before, self._classes(row), strict=True))
                self.tables.remove("outcomes", *row.place)
                self.tables.remove("mistakes", *row.place)
                if rest := {target: kept[target] for target in before if target not in group}:
                    self.put(crafted, rest)
        predictions, key = np.stack(list(group.values())), content_hash({"targets": list(group)})
        if self.tables.row("target_sets", key) is None:
            self.tables.put("target_sets", key, pack_json(list(group)))
        right, surrogate = predictions == self.labels, crafted[0]
        agreeing = count_agreeing(predictions, group.get(surrogate, self._own(*crafted)), self.labels)
        place = (self.image_set, *crafted, key)
        self.tables.put("outcomes", *place, pack_right(right), pack_counts(agreeing))
        self.tables.put("mistakes", *place, pack_mistakes(predictions, right))
        if surrogate in group:
            self._count_again(crafted, group[surrogate], but=place)

    def _count_again(self, crafted: tuple[str, str, float], own: NDArray[np.integer[Any]], but: RowKey) -> None:
        """Count the other targets' agreement with what the surrogate itself predicts now."""
        for row in self._rows(*crafted):
            if row.place != but:
                predictions = self._classes(row)
                counts = count_agreeing(predictions, own, self.labels)
                self.tables.put("outcomes", *row.place, pack_right(predictions == self.labels), pack_counts(counts))

    def _own(self, surrogate: str, attack: str, epsilon: float) -> Classes | None:
        """Return what the surrogate itself predicted for the images crafted on it; None if it was not asked."""
        for row in self._rows(surrogate, attack, epsilon) if surrogate else ():
            targets = self._targets(row.place[-1])
            if surrogate in targets:
                own: Classes = self._classes(row)[targets.index(surrogate)]
                return own
        return None

    def _rows(self, *crafted: Any) -> list[Row]:
        places = self.tables.matching("outcomes", self.image_set, *crafted)
        return [Row(place, len(self._targets(place[-1]))) for place in places]

    def _targets(self, target_set: str) -> tuple[str, ...]:
        found = self.tables.row("target_sets", target_set)
        if found is None:
            raise Damaged("target_sets lacks a row")
        return _targets(found[-1])

    def _classes(self, row: Row) -> Classes:
        return classes_of(self.tables, row, self.labels, self.classes_there)
