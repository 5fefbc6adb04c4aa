"""The facts a sweep leaves behind: per image, what each target said. Everything else is computed from these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Relation = Literal["white-box", "same-start", "same-rule", "cross-rule", "no surrogate"]


@dataclass(frozen=True)
class ModelRecord:
    """One trained (or failed) model.

    Attributes:
        key: content hash of everything that decided its weights; also the name of its checkpoint.
        name: the model card's name.
        title: the card's title, for figures.
        rule: the learning rule's name.
        seed: the training seed.
        status: "trained" or "failed".
        error: why it failed, or "".
        metrics: facts of the training, such as epochs, seconds, clean test accuracy.

    """

    key: str
    name: str
    title: str
    rule: str
    dataset: str
    seed: int
    status: Literal["trained", "failed"] = "trained"
    error: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AttackRecord:
    """One attack, as its card was when it ran."""

    key: str
    name: str
    title: str
    norm: str
    card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """What one target said about the images that one attack crafted on one surrogate at one epsilon.

    Attributes:
        surrogate: the surrogate's key, or None for an attack that needs none (noise).
        target: the target's key.
        attack: the attack's key.
        epsilon: perturbation size in pixels of [0, 1]; greater than 0 (epsilon 0 is the clean pass).
        predictions: the class the target said, int64, shape (N,).

    """

    surrogate: str | None
    target: str
    attack: str
    epsilon: float
    predictions: NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """A few adversarial images of one crafting, kept so that reports can show them: float32 (n, C, H, W)."""

    surrogate: str | None
    attack: str
    epsilon: float
    images: NDArray[np.float32]


@dataclass(frozen=True)
class Outcomes:
    """All that a run holds about one data set on one set of test images.

    Attributes:
        dataset: the data set's name.
        title: the data set's name in figures.
        classes: class names, K of them.
        indices: positions of the N images in the test split, int64.
        labels: their true classes, int64, shape (N,).
        images: the first few clean images, float32 (n, C, H, W), matching `examples` row by row.
        models: all models by key, surrogates, targets and failed ones.
        surrogates: keys of the models that were attacked on.
        targets: keys of the models that were scored.
        attacks: all attacks by key.
        epsilons: the sweep's epsilons, ascending, starting with 0.
        clean: what each target and surrogate says about the clean images, by model key, int64 (N,).
        cells: one per (surrogate, attack, epsilon > 0, target).
        examples: adversarial images to show.
        spec: the sweep's specification, as plain data.

    """

    dataset: str
    title: str
    classes: tuple[str, ...]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: NDArray[np.float32]
    models: dict[str, ModelRecord]
    surrogates: tuple[str, ...]
    targets: tuple[str, ...]
    attacks: dict[str, AttackRecord]
    epsilons: tuple[float, ...]
    clean: dict[str, NDArray[np.int64]]
    cells: tuple[Cell, ...]
    examples: tuple[Example, ...]
    spec: dict[str, Any]

    def relation(self, surrogate: str | None, target: str) -> Relation:
        """How the attacker's model is related to the attacked one.

        "same-start" is another card with the same training seed. All cards draw their first weights from the seed, so
        the two started as the same network; such pairs fool each other more easily than an attacker could hope for.
        """
        if surrogate is None:
            return "no surrogate"
        if surrogate == target:
            return "white-box"
        attacker, attacked = self.models[surrogate], self.models[target]
        if attacker.seed == attacked.seed:
            return "same-start"
        return "same-rule" if attacker.rule == attacked.rule else "cross-rule"

    def curves(self) -> Iterator[tuple[str | None, str, str, list[tuple[float, NDArray[np.int64]]]]]:
        """Yield (surrogate, target, attack, [(epsilon, predictions), ...]) with the clean pass as epsilon 0."""
        groups: dict[tuple[str | None, str, str], list[tuple[float, NDArray[np.int64]]]] = {}
        for cell in self.cells:
            groups.setdefault((cell.surrogate, cell.target, cell.attack), []).append((cell.epsilon, cell.predictions))
        for (surrogate, target, attack), points in groups.items():
            curve = [(0.0, self.clean[target]), *sorted(points, key=lambda point: point[0])]
            yield surrogate, target, attack, curve
