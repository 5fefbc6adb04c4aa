"""Attack cards, each a threat model and a recipe for adversarial images, and suites, which name several attacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ..errors import shown
from ..registry import COMPONENTS, is_file_reference, referenced_digest
from .base import Card, FileCard
from .fields import Line, Whole, number, plain_options


class Component(Card):
    """A named part of a gradient attack; all other fields are its options, checked when the attack is built."""

    model_config = ConfigDict(extra="allow")

    component: Line

    @model_validator(mode="after")
    def _plain(self) -> Component:
        plain_options(self.options)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The fields besides the name."""
        return dict(self.model_extra or {})

    def known_as(self, role: str) -> Component:
        """Return the same part, named as it is known in its role; see `Registry.spelled`."""
        name = COMPONENTS[role].spelled(self.component)
        return self if name == self.component else self.model_copy(update={"component": name})


FACTOR = r"[0-9]{1,20}(?:\.[0-9]{1,20})?"
STEP_SIZE = re.compile(rf"(?:(?P<factor>{FACTOR}) \* )?epsilon(?: / (?P<divisor>steps|{FACTOR}))?")
STAND_IN = re.compile(rf"zero|straight_through|tanh:(?P<steepness>{FACTOR})")


def length_at(length: float | str, epsilon: float, steps: int = 1) -> float:
    """Return a length in pixels, which a card may write as a number or as a multiple of epsilon.

    Args:
        length: a number of pixels, or a text that `STEP_SIZE` matches, such as ``"2 * epsilon / steps"``.
        epsilon: epsilon in pixels of [0, 1].
        steps: how many steps the attack takes.

    Raises:
        ValueError: for a division by 0.

    """
    if not isinstance(length, str):
        return float(length)
    form = STEP_SIZE.fullmatch(length)
    assert form is not None
    divisor = form["divisor"]
    count = 1.0 if divisor is None else float(max(steps, 1)) if divisor == "steps" else float(divisor)
    if count == 0:
        raise ValueError(f"must not divide by 0 (got {length!r})")
    return float(form["factor"] or 1.0) * epsilon / count


class AttackCard(FileCard):
    """A threat model and a recipe for adversarial images.

    Attributes:
        norm: the norm in which a perturbation is at most epsilon.
        steps: how many steps to take; 0 leaves the images where the attack starts, as noise does.
        step_size: a number in pixels of [0, 1], or ``"epsilon"``, ``"epsilon / steps"``, ``"2.5 * epsilon / steps"``.
        loss: the loss that the attack increases; in a targeted attack, decreases.
        source: where gradients come from; every source but ``single`` takes several surrogates together.
        start: where the attack starts (default: at the clean images).
        input: what is done to the images before the networks see them, in this order.
        gradient: what is done around the gradient; each entry wraps those before it.
        update: makes a direction from the gradients.
        step: takes a step in that direction.
        target: for a targeted attack, how each image's target class is chosen.
        backward: what replaces the derivative of activations that have none, such as signum: ``"zero"``,
            ``"straight_through"``, ``"tanh:K"``. Each is tried, and of each image the result that fools its surrogate
            most is kept. Surrogates whose activations have derivatives are attacked once, with these.
        adapter: an attack of another library; beside it, steps, loss, source and all other components are refused.

    """

    kind: Literal["attack"]
    norm: Literal["linf", "l2", "l1"] = "linf"
    steps: Annotated[Whole, Field(ge=0, le=1_000_000)] = 10
    step_size: float | str = "epsilon / steps"
    loss: Line = "cross_entropy"
    source: Component = Component(component="single")
    start: Component | None = None
    input: tuple[Component, ...] = Field(default=(), max_length=100)
    gradient: tuple[Component, ...] = Field(default=(), max_length=100)
    update: Component = Component(component="plain")
    step: Component = Component(component="steepest")
    target: Literal["random", "least_likely", "runner_up", "next"] | None = None
    backward: tuple[str, ...] = Field(default=("straight_through", "tanh:1", "tanh:3"), min_length=1, max_length=100)
    adapter: Component | None = None

    @field_validator("step_size", mode="before")
    @classmethod
    def _readable(cls, value: object) -> float | str:
        if isinstance(value, str) and not STEP_SIZE.fullmatch(value):
            raise ValueError(
                "must be a number, or 'epsilon', 'epsilon / steps', '2.5 * epsilon / steps' or alike "
                f"(got {shown(value)})"
            )
        size = value if isinstance(value, str) else number(value)
        if not length_at(size, 1.0) > 0:
            raise ValueError(f"must be greater than 0 (got {shown(value)})")
        return size

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        return COMPONENTS["loss"].spelled(name)

    @field_validator("source", "start", "update", "step", "adapter")
    @classmethod
    def _known_part(cls, part: Component | None, field: ValidationInfo) -> Component | None:
        return None if part is None else part.known_as(str(field.field_name))

    @field_validator("input", "gradient")
    @classmethod
    def _known_parts(cls, parts: tuple[Component, ...], field: ValidationInfo) -> tuple[Component, ...]:
        return tuple(part.known_as(str(field.field_name)) for part in parts)

    @field_validator("backward")
    @classmethod
    def _stand_ins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            form = STAND_IN.fullmatch(value)
            if form is None or float(form["steepness"] or 1) == 0:
                raise ValueError(
                    f"must hold 'zero', 'straight_through' or 'tanh:K' such as 'tanh:3' (got {shown(value)})"
                )
        return values

    @model_validator(mode="after")
    def _does_something(self) -> AttackCard:
        if self.steps == 0 and self.start is None:
            raise ValueError("an attack of 0 steps needs a [start], or it leaves every image as it is")
        if self.steps == 0 and self.target is not None:
            raise ValueError("an attack of 0 steps cannot aim at a target")
        guided = {"step_size", "loss", "source", "input", "gradient", "update", "step"}
        given = sorted((guided | {"steps", "start"}) & self.model_fields_set)
        if self.adapter is not None and given:
            raise ValueError(f"an [adapter] runs another library's attack; {given[0]} has no meaning beside it")
        unused = sorted((guided | {"backward"}) & self.model_fields_set)
        if self.steps == 0 and unused:
            raise ValueError(f"an attack of 0 steps asks no network; {unused[0]} has no meaning in it")
        return self

    def step_for(self, epsilon: float) -> float:
        """Return the step size in pixels at one epsilon."""
        return length_at(self.step_size, epsilon, self.steps)

    @property
    def path_length(self) -> float | None:
        """The length of all steps together, in epsilons; None where steps are given in pixels."""
        return self.steps * self.step_for(1.0) if isinstance(self.step_size, str) else None

    @property
    def library(self) -> str | None:
        """The library whose attack this is, "foolbox" or "art"; None for one of our own."""
        return self.adapter.component if self.adapter else None

    @property
    def uses_surrogate(self) -> bool:
        """Whether the images depend on a surrogate; noise does not."""
        return self.steps > 0

    @property
    def uses_ensemble(self) -> bool:
        """Whether it takes several surrogates together rather than one."""
        return self.uses_surrogate and self.source.component != "single"

    @property
    def parts(self) -> tuple[Component, ...]:
        """All its components, the loss among them."""
        optional = [part for part in (self.start, self.adapter) if part is not None]
        named = Component(component=self.loss), self.source, self.update, self.step
        return *named, *optional, *self.input, *self.gradient

    def identity(self) -> dict[str, Any]:
        """Return everything in the card that decides the adversarial images: its name too, which keys random draws.

        Fields at their defaults are left out, so that a field that a later release adds does not change
        the identity of today's cards.
        """
        facts = self.model_dump(exclude={"title", "paper", "notes", "kind"}, exclude_defaults=True)
        for part in self.parts:
            if is_file_reference(part.component):
                file = part.component.rpartition(":")[0]
                files, digest = facts.setdefault("files", {}), referenced_digest(part.component, self.folder)
                # The name alone would be ambiguous for two files of the same name in different folders.
                files[Path(file).name if files.get(Path(file).name, digest) == digest else file] = digest
        return facts


class SuiteCard(FileCard):
    """A name for several attacks.

    Attributes:
        attacks: names of attacks and of other suites; an attack that is named several times counts once.

    """

    kind: Literal["suite"]
    attacks: tuple[Line, ...] = Field(min_length=1, max_length=1_000)
