"""From an attack card to the functions it is composed of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from torch import Tensor

from ..cards import AttackCard, Component
from ..errors import UsageError, located
from ..registry import COMPONENTS, build, is_file_reference, parameters_of
from .components.inputs import through
from .components.losses import Criterion
from .components.sources import Source
from .context import Gradient, Start, Stepper, Update, Wrapper
from .effect import check_effects
from .surrogates import Surrogate
from .threat import THREATS, Threat


@dataclass(frozen=True)
class Composition:
    """An attack built from its card; its surrogates are given later.

    Attributes:
        threat: the threat model.
        steps: how many steps it takes.
        step_for: epsilon -> the length of a step.
        start: where it begins; None for the clean images.
        gradient: surrogates -> the gradient to follow, with all its wrappers.
        update: from gradients to a direction.
        step: from a direction to a move.

    """

    threat: Threat
    steps: int
    step_for: Callable[[float], float]
    start: Start | None
    gradient: Callable[[Sequence[Surrogate]], Gradient]
    update: Update
    step: Stepper


def build_part(card: AttackCard, role: str, component: Component, field: str) -> Any:
    """Build one component of a card; one that has to know more of the card, such as the norm, is told."""
    try:
        with located(field):
            factory = factory_of(card, role, component)
            asked = parameters_of(factory)
        known = {"norm": card.norm, "targeted": card.target is not None, "path_length": card.path_length}
        given = {name: value for name, value in known.items() if name in asked}
        return build(factory, component.options, field, **given)
    except UsageError as error:  # the card's path is looked up only now: attacks are built anew for every batch
        raise UsageError(card.at(str(error))) from error.__cause__


def factory_of(card: AttackCard, role: str, component: Component) -> Callable[..., Any]:
    """Return what a component of a card is built by."""
    return COMPONENTS[role].get(component.component, card.folder if is_file_reference(component.component) else None)


def components_of(card: AttackCard) -> Iterator[tuple[str, str, Component]]:
    """Yield the parts of a card that may depend on each other: field, role and component."""
    yield "source", "source", card.source
    for role, entries in (("input", card.input), ("gradient", card.gradient)):
        for place, entry in enumerate(entries):
            yield f"{role}.{place}", role, entry
    yield "update", "update", card.update
    yield "step", "step", card.step


def build_composition(card: AttackCard) -> Composition:
    """Build all components of a card.

    Raises:
        UsageError: naming file, field and reason, also for a component that would do nothing.

    """
    part = partial(build_part, card)
    criterion: Criterion = part("loss", Component(component=card.loss), "loss")
    wanted = criterion if card.target is None else towards(criterion)
    source: Source = part("source", card.source, "source")
    inputs = [
        through(part("input", entry, f"input.{place}"), f"{place} {entry.component}")
        for place, entry in enumerate(card.input)
    ]
    around: list[Wrapper] = [part("gradient", entry, f"gradient.{place}") for place, entry in enumerate(card.gradient)]

    def transform(gradient: Gradient) -> Gradient:
        # The first transform listed sees the images first, so it is the outermost.
        return reduce(lambda inner, wrap: wrap(inner), reversed(inputs), gradient)

    def composed(surrogates: Sequence[Surrogate]) -> Gradient:
        return reduce(lambda inner, wrap: wrap(inner), around, source(surrogates, wanted, transform))

    composition = Composition(
        threat=THREATS[card.norm],
        steps=card.steps,
        step_for=card.step_for,
        start=part("start", card.start, "start") if card.start else None,
        gradient=composed,
        update=part("update", card.update, "update"),
        step=part("step", card.step, "step"),
    )
    check_effects(
        card, [(field, entry.component, factory_of(card, role, entry)) for field, role, entry in components_of(card)]
    )
    return composition


def towards(criterion: Criterion) -> Criterion:
    """Turn a loss to be raised into one whose rise leads to the labels, for targeted attacks."""

    def lowered(logits: Tensor, labels: Tensor) -> Tensor:
        return -criterion(logits, labels)

    return lowered
