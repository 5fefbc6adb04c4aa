"""The facts a sweep leaves behind: per image, what each target predicted. Everything else is computed from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..environment import Environment
from ..names import folded
from .cells import Cells
from .keys import IMPORTED, CraftingKey

Element = TypeVar("Element", bound=np.generic)


def read_only(array: NDArray[Element]) -> NDArray[Element]:
    """Return a view that cannot be written to: an accidental write would change all tables and figures after it."""
    view = array.view()
    view.flags.writeable = False
    return view


Relation = Literal["white-box", "same-training", "same-start", "same-rule", "cross-rule", "no surrogate", "unknown"]


class CraftingRecord(NamedTuple):
    """What is kept of one crafting beside the predictions.

    Attributes:
        key: which crafting.
        facts: about it; see `Outcomes.craftings`.
        images: a few adversarial images to show, float32 (n, C, H, W); None to leave those that are stored.
        made_with: versions, device and platform; see `environment`. None if they are not known.

    """

    key: CraftingKey
    facts: dict[str, Any]
    images: NDArray[np.float32] | None
    made_with: Environment | None = None


@dataclass(frozen=True)
class DataRecord:
    """A data set, as it was when it was used.

    Attributes:
        fingerprint: hash of pixels, labels and number of classes.
        name: what cards and the command line call it.
        title: what figures call it.
        classes: class names, K of them.

    """

    fingerprint: str
    name: str
    title: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ImageRecord:
    """The test images that outcomes are about.

    Attributes:
        key: hash of what decides which images these are.
        fingerprint: the fingerprint of their data set.
        indices: positions of the N images in the test split, int64.
        labels: their true classes, int64, shape (N,).
        first: the first few clean images, float32 (n, C, H, W).

    """

    key: str
    fingerprint: str
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    first: NDArray[np.float32]


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
        error: why it failed; None for a trained model.
        metrics: facts of the training, such as epochs, seconds, clean test accuracy.
        fingerprint: of the data it was trained on; None in runs of the first release, which did not record it.

    """

    key: str
    name: str
    title: str
    rule: str
    dataset: str
    seed: int
    status: Literal["trained", "failed"] = "trained"
    error: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None

    @property
    def training(self) -> str:
        """The key of the whole training that the model is an epoch of; its own, if it is that."""
        return str(self.metrics.get("epoch_of", self.key))

    @property
    def external(self) -> bool:
        """Whether it was trained elsewhere, so that nobody here knows how."""
        return bool(self.metrics.get("external"))


@dataclass(frozen=True)
class Ensemble:
    """Several models of one training seed that images were crafted on together.

    Attributes:
        key: content hash of the members' keys.
        members: the models' keys.
        name: the members' card names, joined by "+" in alphabetical order.
        title: their titles, likewise.
        rule: their learning rules, each once.
        seed: their training seed.

    """

    key: str
    members: tuple[str, ...]
    name: str
    title: str
    rule: str
    seed: int

    @classmethod
    def of(cls, key: str, models: Sequence[ModelRecord]) -> Ensemble:
        """Put an ensemble together from its members' records."""
        ordered = sorted(models, key=lambda model: model.name)
        return cls(
            key,
            tuple(model.key for model in models),
            "+".join(model.name for model in ordered),
            " + ".join(model.title or model.name for model in ordered),
            "+".join(sorted({model.rule for model in models})),
            models[0].seed,
        )


@dataclass(frozen=True)
class AttackRecord:
    """One attack, as its card was when it ran; or images from a file, and then `card` says which."""

    key: str
    name: str
    title: str
    norm: str
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def imported(self) -> bool:
        """Whether its images came from a file."""
        return self.card.get("kind") == IMPORTED

    @property
    def together(self) -> bool:
        """Whether it is crafted on ensembles."""
        source = self.card.get("source")
        return isinstance(source, dict) and source.get("component", "single") != "single"


@dataclass(frozen=True)
class Example:
    """A few adversarial images of one crafting, kept so that reports can show them: float32 (n, C, H, W)."""

    surrogate: str | None
    attack: str
    epsilon: float
    images: NDArray[np.float32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", read_only(self.images))


@dataclass(frozen=True)
class Outcomes:
    """All that a run holds about one data set on one set of test images. Its arrays cannot be written to.

    Attributes:
        dataset: the data set's name.
        title: the data set's name in figures.
        classes: class names, K of them.
        indices: positions of the N images in the test split, int64.
        labels: their true classes, int64, shape (N,).
        images: the first few clean images, float32 (n, C, H, W), matching `examples` row by row.
        models: all models by key, surrogates, targets and failed ones.
        surrogates: keys of the models that were attacked on, alone or in an ensemble.
        targets: keys of the models that were scored.
        foreign: keys of the surrogates of an architecture that no target has, and whose cards have the role
            "surrogate".
        attacks: all attacks by key.
        epsilons: the sweep's epsilons, ascending, starting with 0; imported images may have others.
        clean: what each target and surrogate predicts for the clean images, by model key, int64 (N,).
        cells: one per (surrogate, attack, epsilon > 0, target); a sequence of `Cell` is taken as well.
        examples: adversarial images to show.
        spec: the sweep's specification, as plain data.
        ensembles: all ensembles by key, also those that were not attacked on because a member failed.
        craftings: facts about each crafting, where defined: "seconds" (with scoring), "batch_size" (images computed at
            a time), "zero_gradient_share" (of the images, those whose every gradient was exactly zero), "queries" (mean
            number of times that an image was shown to the surrogate), "median_norm" (of the smallest perturbations
            found; failures are infinite).
        image_set: key of the images; "" for outcomes that no store holds.
        probes: what models said of attacks on them, by model key, and under "" how the images relate to the training
            images; see `scoring.probing`. None before `check` was run.
        crafted_with: versions, devices and platforms that craftings were made with, each once, where they are known.
        replaced: how many outcomes the run holds on earlier data of the same name, which are not shown.

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
    cells: Cells
    examples: tuple[Example, ...]
    spec: dict[str, Any]
    ensembles: dict[str, Ensemble] = field(default_factory=dict)
    craftings: dict[CraftingKey, dict[str, float]] = field(default_factory=dict)
    replaced: int = 0
    # What `analysis` has computed of these outcomes by now, so that it is computed once.
    derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    foreign: tuple[str, ...] = ()
    image_set: str = ""
    probes: dict[str, dict[str, float]] = field(default_factory=dict)
    crafted_with: tuple[Environment, ...] = ()

    def __post_init__(self) -> None:
        for name in ("indices", "labels", "images"):
            object.__setattr__(self, name, read_only(getattr(self, name)))
        # Cells that are in memory are welcome too; and what is right depends on the labels.
        if not isinstance(self.cells, Cells) or not np.array_equal(self.cells.labels, self.labels):
            object.__setattr__(self, "cells", Cells.of(self.cells, self.labels))
        object.__setattr__(self, "clean", {key: read_only(predictions) for key, predictions in self.clean.items()})

    def record(self, key: str) -> ModelRecord | Ensemble:
        """Return what is known of a model or an ensemble, not of `IMPORTED`."""
        return self.ensembles[key] if key in self.ensembles else self.models[key]

    def members(self, surrogate: str) -> tuple[str, ...]:
        """Return the keys of a surrogate's models: itself, or an ensemble's members."""
        return self.ensembles[surrogate].members if surrogate in self.ensembles else (surrogate,)

    def relation(self, surrogate: str | None, target: str) -> Relation:
        """How a surrogate is related to the target.

        "white-box" is the target itself, alone or in an ensemble. "same-training" is another epoch of the target's own
        training: nearly white-box, and in no mean over surrogates either. "same-start" is another card with the same
        training seed. All cards draw their first weights from the seed, so the two started as the same network; such
        pairs fool each other more easily than an attacker could hope for. What seeds of models trained elsewhere stand
        for, nobody knows: these are related by their rule alone. An ensemble is as near to the target as the nearest
        of its members.
        """
        if surrogate is None:
            return "no surrogate"
        if surrogate == IMPORTED:
            return "unknown"
        held, attacked = self.members(surrogate), self.models[target]
        if target in held:
            return "white-box"
        here = [] if attacked.external else [self.models[key] for key in held if not self.models[key].external]
        if any(model.training == attacked.training for model in here):
            return "same-training"
        if any(model.seed == attacked.seed for model in here):
            return "same-start"
        rules = {folded(self.models[key].rule) for key in held}  # runs of the first release have hyphens in some
        return "same-rule" if folded(attacked.rule) in rules else "cross-rule"
