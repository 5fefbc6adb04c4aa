"""What tells outcomes apart: a crafting's key, an outcome's key, and which outcomes exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

IMPORTED = "imported"  # the surrogate's key of images from elsewhere whose surrogate is not known


class CraftingKey(NamedTuple):
    """What tells one crafting from the others on the same images.

    Attributes:
        surrogate: the key of the model or ensemble attacked on; None for an attack that needs none (noise);
            `IMPORTED` for images from elsewhere.
        attack: the attack's key.
        epsilon: perturbation size in pixels of [0, 1].

    """

    surrogate: str | None
    attack: str
    epsilon: float

    def of(self, target: str) -> OutcomeKey:
        """Return the key of what one target predicts for these images."""
        return OutcomeKey(*self, target)


class OutcomeKey(NamedTuple):
    """What tells the predictions of one target from all others on the same images.

    Attributes:
        surrogate: as in `CraftingKey`; None for clean images too.
        attack: the attack's key; None for clean images.
        epsilon: perturbation size in pixels of [0, 1]; 0 for clean images.
        target: the key of the model that predicts.

    """

    surrogate: str | None
    attack: str | None
    epsilon: float
    target: str

    @classmethod
    def clean(cls, target: str) -> OutcomeKey:
        """Return the key of what one model predicts for the clean images."""
        return cls(None, None, 0.0, target)

    @property
    def crafting(self) -> CraftingKey | None:
        """Which crafting the images are of; None for clean images."""
        return None if self.attack is None else CraftingKey(self.surrogate, self.attack, self.epsilon)


class ExistingOutcomes:
    """Which outcomes exist on some images, crafting by crafting: a sweep of a million of them is planned in a second.

    Args:
        targets: the targets' keys by crafting; of None those of the clean images.
    """

    def __init__(self, targets: Mapping[CraftingKey | None, frozenset[str]] | None = None) -> None:
        self._targets = dict(targets or {})

    @classmethod
    def of(cls, keys: Iterable[OutcomeKey]) -> ExistingOutcomes:
        """Gather the outcomes that some keys name."""
        found: dict[CraftingKey | None, set[str]] = {}
        for key in keys:
            found.setdefault(key.crafting, set()).add(key.target)
        return cls({crafting: frozenset(targets) for crafting, targets in found.items()})

    def targets(self, crafting: CraftingKey | None) -> frozenset[str]:
        """Return the keys of the targets that saw a crafting's images; of None the clean images."""
        return self._targets.get(crafting, frozenset())

    def __contains__(self, key: OutcomeKey) -> bool:
        return key.target in self.targets(key.crafting)

    def __iter__(self) -> Iterator[OutcomeKey]:
        for crafting, targets in self._targets.items():
            for target in sorted(targets):
                yield OutcomeKey.clean(target) if crafting is None else crafting.of(target)

    def __len__(self) -> int:
        return sum(map(len, self._targets.values()))
