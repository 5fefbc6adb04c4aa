"""What is kept of craftings beside the predictions: facts, images to show, and the cause where one failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..environment import Environment, as_text
from .keys import CraftingKey, OutcomeKey
from .outcomes import CraftingRecord, Example
from .packing import (
    FACTS_FORM,
    TEXTS_FORM,
    pack_absent,
    pack_images,
    pack_json,
    printable,
    unpack_absent,
    unpack_images,
    unpack_json,
)
from .sealed import SealedTables
from .selection import Joined

FAILED = "failed"  # in the column of what a crafting was made with: why it failed the last time


class KeptOfCraftings(NamedTuple):
    """What is shown of craftings: facts of each, images of some, and what they were made with."""

    facts: dict[CraftingKey, dict[str, float]]
    examples: tuple[Example, ...]
    made_with: tuple[Environment, ...]


class _Row(NamedTuple):
    key: CraftingKey
    facts: dict[str, float]
    made_with: Environment
    cause: str | None
    images: bytes | None

    @property
    def done(self) -> bool:
        """Whether it was ever done; of one that only failed nothing else is known."""
        return bool(self.facts) or self.cause is None


class CraftingTable:
    """The rows of a store's craftings; to be used inside `clear_store_errors`."""

    def __init__(self, tables: SealedTables) -> None:
        self._tables = tables

    def put(self, image_set: str, crafting: CraftingRecord) -> None:
        """Store what is kept of a crafting that was done; images to show stay if there are no others."""
        where = (image_set, *crafting_columns(crafting.key))
        before = self._tables.row("craftings", *where)
        images = (before[-1] if before else None) if crafting.images is None else pack_images(crafting.images)
        self._tables.put("craftings", *where, pack_json(crafting.facts), as_text(crafting.made_with), images)

    def put_failure(self, image_set: str, key: CraftingKey, cause: str) -> None:
        """Store why a crafting failed, beside what is known of it from before."""
        where = (image_set, *crafting_columns(key))
        *_, facts, text, images = self._tables.row("craftings", *where) or (pack_json({}), "", None)
        made_with = {**_texts(text), FAILED: printable(cause)}
        self._tables.put("craftings", *where, facts, as_text(made_with), images)

    def failures(self, image_set: str) -> dict[CraftingKey, str]:
        """Return why craftings failed, by those that were not done since."""
        return {row.key: row.cause for row in self._rows(image_set) if row.cause is not None}

    def facts(self, image_set: str) -> dict[CraftingKey, dict[str, float]]:
        """Return the facts of all that were done."""
        return {row.key: row.facts for row in self._rows(image_set) if row.done}

    def records(self, image_set: str, clean: NDArray[np.float32]) -> Iterator[CraftingRecord]:
        """Yield what is kept of each that was done; `clean` are the clean images of those that are shown."""
        for row in self._rows(image_set):
            if row.done:
                images = None if row.images is None else unpack_images(row.images, clean.shape[1:], len(clean))
                yield CraftingRecord(row.key, row.facts, images, row.made_with or None)

    def shown(self, image_set: str, joined: Joined, clean: NDArray[np.float32]) -> KeptOfCraftings:
        """Return what is kept of those that play a part in what is shown."""
        facts, examples, made_with = {}, [], dict[str, None]()
        for row in self._rows(image_set):
            if row.done and joined.play(row.key):
                facts[row.key] = row.facts
                made_with[as_text(row.made_with)] = None
                if row.images is not None:
                    examples.append(Example(*row.key, unpack_images(row.images, clean.shape[1:], len(clean))))
        return KeptOfCraftings(facts, tuple(examples), tuple(_texts(text) for text in made_with if text))

    def _rows(self, image_set: str) -> Iterator[_Row]:
        for _, *columns, facts, text, images in self._tables.rows("craftings", image_set):
            made_with = _texts(text)
            cause = made_with.pop(FAILED, None)
            yield _Row(crafting_key(*columns), unpack_json(FACTS_FORM, facts, "crafting"), made_with, cause, images)


def _texts(text: Any) -> dict[str, str]:
    return unpack_json(TEXTS_FORM, text, "made_with") if text else {}


def crafting_columns(key: CraftingKey | OutcomeKey) -> tuple[str, str, float]:
    """Return surrogate, attack and epsilon as the tables hold them."""
    return pack_absent(key.surrogate), pack_absent(key.attack), float(key.epsilon)


def crafting_key(surrogate: str, attack: str, epsilon: float) -> CraftingKey:
    """Return the key of a crafting from what a table holds."""
    return CraftingKey(unpack_absent(surrogate), attack, epsilon)


def outcome_crafting(surrogate: str, attack: str, epsilon: float) -> CraftingKey | None:
    """Return which crafting outcomes are of; None for clean images."""
    return crafting_key(surrogate, attack, epsilon) if attack else None
