"""What targets predicted for adversarial images: read a block of targets at a time, and only when it is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from .bits import Bits, to_bits
from .keys import CraftingKey, OutcomeKey

Classes = NDArray[np.unsignedinteger[Any]]
REMEMBERED = 128 * 2**20  # bytes of answers that are kept once they were read


@dataclass(frozen=True)
class Cell:
    """What one target predicted for the images that one attack crafted on one surrogate at one epsilon.

    Attributes:
        surrogate: the key of the model or ensemble attacked on; None for an attack that needs none (noise);
            `IMPORTED` for images from elsewhere.
        target: the target's key.
        attack: the attack's key.
        epsilon: perturbation size in pixels of [0, 1]; greater than 0 (epsilon 0 is the clean pass).
        predictions: the class the target predicted, int64, shape (N,).

    """

    surrogate: str | None
    target: str
    attack: str
    epsilon: float
    predictions: NDArray[np.int64]

    @property
    def key(self) -> OutcomeKey:
        """What tells these predictions from all others."""
        return OutcomeKey(self.surrogate, self.attack, self.epsilon, self.target)

    def __post_init__(self) -> None:
        view = self.predictions.view()
        view.flags.writeable = False  # an accidental write would change all tables and figures after it
        object.__setattr__(self, "predictions", view)


class OutcomeBlock(NamedTuple):
    """T targets that saw the images of one crafting.

    Attributes:
        crafting: which images.
        targets: the targets' keys.
    """

    crafting: CraftingKey
    targets: tuple[str, ...]


class Answers(NamedTuple):
    """What is known of a block without its classes.

    Attributes:
        right: which of the N images each target got right, as bits, (T, B).
        agreeing: on how many images target and surrogate were both wrong and predicted the same class, (T,); -1 where
            that was not counted.
    """

    right: Bits
    agreeing: NDArray[np.int64]


class BlockSource(Protocol):
    """Where blocks are read from, by their places."""

    def answers(self, places: Sequence[int]) -> Iterator[Answers]:
        """Yield what is known without classes."""

    def classes(self, places: Sequence[int]) -> Iterator[Classes]:
        """Yield the classes predicted, (T, N)."""


class Cells(Sequence[Cell]):
    """The cells of a run, in blocks of targets that saw the same images. What was predicted is read when asked for.

    Args:
        blocks: what there is.
        labels: the images' true classes, (N,).
        source: where the blocks are read from.
    """

    def __init__(self, blocks: Sequence[OutcomeBlock], labels: NDArray[np.int64], source: BlockSource) -> None:
        self.blocks, self.labels = tuple(blocks), labels
        self._source = source
        self._remembered: OrderedDict[int, Answers] = OrderedDict()
        self._size = 0

    @classmethod
    def of(cls, cells: Iterable[Cell], labels: NDArray[np.int64]) -> Cells:
        """Gather cells that are in memory; of two that say the same thing, the later one counts."""
        groups: dict[CraftingKey, dict[str, NDArray[np.int64]]] = {}
        for cell in cells:
            crafting = CraftingKey(cell.surrogate, cell.attack, cell.epsilon)
            groups.setdefault(crafting, {})[cell.target] = cell.predictions
        blocks = [OutcomeBlock(crafting, tuple(group)) for crafting, group in groups.items()]
        return cls(blocks, labels, InMemory([np.stack(list(group.values())) for group in groups.values()], labels))

    # -- one by one --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(len(block.targets) for block in self.blocks)

    def __iter__(self) -> Iterator[Cell]:
        for block, classes in zip(self.blocks, self._source.classes(range(len(self.blocks))), strict=True):
            surrogate, attack, epsilon = block.crafting
            for target, predictions in zip(block.targets, classes, strict=True):
                yield Cell(surrogate, target, attack, epsilon, predictions.astype(np.int64))

    @overload
    def __getitem__(self, place: int) -> Cell: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Cell, ...]: ...
    def __getitem__(self, place: int | slice) -> Cell | tuple[Cell, ...]:
        return tuple(self)[place]

    # -- block by block ----------------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> dict[CraftingKey, list[int]]:
        found: dict[CraftingKey, list[int]] = {}
        for place, block in enumerate(self.blocks):
            found.setdefault(block.crafting, []).append(place)
        return found

    def places(self, crafting: CraftingKey) -> list[int]:
        """Return where the blocks of one crafting are; none if there are none."""
        return self._places.get(crafting, [])

    def under(self, attacks: Container[str], epsilon: float | None = None) -> list[int]:
        """Return where the blocks of some attacks are, at one epsilon or at all."""
        return [
            place
            for place, (crafting, _) in enumerate(self.blocks)
            if crafting.attack in attacks and epsilon in (None, crafting.epsilon)
        ]

    def on_itself(self, attacks: Container[str], epsilon: float) -> list[int]:
        """Return where the blocks are in which some attacks' surrogate itself is a target."""
        places = self.under(attacks, epsilon)
        return [place for place in places if self.blocks[place].crafting.surrogate in self.blocks[place].targets]

    @cached_property
    def craftings(self) -> tuple[CraftingKey, ...]:
        """All craftings, each once."""
        return tuple(self._places)

    def answers(self, places: Iterable[int]) -> Iterator[tuple[OutcomeBlock, Answers]]:
        """Yield blocks and what is known of them without their classes."""
        wanted = list(places)
        fresh = self._source.answers([place for place in wanted if place not in self._remembered])
        held = {place: self._remembered[place] for place in wanted if place in self._remembered}
        for place in wanted:
            found = held[place] if place in held else next(fresh)
            if place not in held:
                self._remember(place, found)
            yield self.blocks[place], found

    def predictions(self, places: Iterable[int]) -> Iterator[tuple[OutcomeBlock, Classes]]:
        """Yield blocks and the classes predicted, (T, N), in the smallest integer that holds them."""
        wanted = list(places)
        for place, classes in zip(wanted, self._source.classes(wanted), strict=True):
            yield self.blocks[place], classes

    def has(self, crafting: CraftingKey, target: str) -> bool:
        """Whether a target saw the images of a crafting."""
        return any(target in self.blocks[place].targets for place in self.places(crafting))

    def _remember(self, place: int, found: Answers) -> None:
        self._remembered[place] = found
        self._size += found.right.nbytes
        while self._size > REMEMBERED:
            _, oldest = self._remembered.popitem(last=False)
            self._size -= oldest.right.nbytes


@dataclass(frozen=True)
class InMemory:
    """A source of blocks that are in memory.

    Attributes:
        predicted: block by block, the classes, (T, N).
        labels: the true classes, (N,).
    """

    predicted: Sequence[NDArray[np.integer[Any]]]
    labels: NDArray[np.int64]

    def answers(self, places: Sequence[int]) -> Iterator[Answers]:
        """Yield what is known without classes."""
        for place in places:
            classes = self.predicted[place]
            yield Answers(to_bits(classes == self.labels), np.full(len(classes), -1))

    def classes(self, places: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Yield the classes predicted, (T, N)."""
        for place in places:
            yield self.predicted[place]
