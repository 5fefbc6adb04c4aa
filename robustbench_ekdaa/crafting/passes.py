"""What an attack costs, counted before it runs: forward and backward passes of its surrogates, per image."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from ..cards import AttackCard, Component
from ..registry import COMPONENTS, parameters_of

# Components that ask the gradient several times a step, and by which option; others of the package ask once.
COPIES = {"scale": "copies", "admix": "images", "spectrum": "copies"}


@dataclass(frozen=True)
class Passes:
    """How often images are passed through networks, forward and backward, per image."""

    forward: float
    backward: float

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: float) -> Passes:
        return Passes(self.forward * times, self.backward * times)


def passes(card: AttackCard, epsilons: int, surrogates: int = 1, modes: int = 1) -> Passes | None:
    """Return the passes that crafting takes per image, without those of scoring; None where nobody knows before.

    One gradient at an image is one forward and one backward pass of each surrogate. With K steps, E epsilons and S
    surrogates, an attack takes S (1 + E (K - 1)) of them where the first step is the same at all epsilons, else S E K;
    times the copies of its inputs, and the neighbours of variance tuning, plus one, from the second step on.

    Args:
        card: the attack.
        epsilons: at how many epsilons above 0.
        surrogates: how many it is crafted on together.
        modes: how many stand-ins for the derivative of signum are tried: 1 for networks that need none.

    """
    if not card.uses_surrogate:
        return Passes(0, 0)
    parts = [(role, part) for role in ("input", "gradient") for part in getattr(card, role)]
    parts.append(("source", card.source))
    if card.adapter is not None or not all(_is_known(role, part) for role, part in parts):
        return None
    first, later = _per_step(card)
    asked = surrogates if card.source.component != "variance_reduced" else _reduced(card, surrogates)
    steps = epsilons * (card.steps - 1) * later + first * (1 if _shares_first_step(card) else epsilons)
    gradients = asked * steps * modes
    looks = surrogates * (card.target is not None) + (surrogates * modes * epsilons if modes > 1 else 0)
    return Passes(gradients + looks, gradients)


def _per_step(card: AttackCard) -> tuple[float, float]:
    """Return how often the source is asked in the first step, and in each later one."""
    copies = [_option("input", entry, COPIES[entry.component]) for entry in card.input if entry.component in COPIES]
    first = later = float(prod(copies))
    for entry in card.gradient:
        if entry.component == "variance_tuning":
            later += _option("gradient", entry, "neighbours") * first
        if entry.component == "sampling":
            later *= _option("gradient", entry, "samples")
    return first, later


def _reduced(card: AttackCard, surrogates: int) -> int:
    """Return how often `variance_reduced` asks one surrogate: all together, and then its inner steps."""
    inner = int(_option("source", card.source, "rounds")) * surrogates - 1
    return surrogates + inner + min(surrogates, inner)


def _shares_first_step(card: AttackCard) -> bool:
    asks = any(entry.component == "spectrum" and _option("input", entry, "noise") for entry in card.input)
    return card.start is None and not asks and card.source.component != "variance_reduced"


def _is_known(role: str, part: Component) -> bool:
    """Whether a component is one of the package, and nobody has registered another in its place."""
    ours = COMPONENTS[role].builtin(part.component)
    return ours is not None and COMPONENTS[role].get(part.component) is ours


def _option(role: str, part: Component, name: str) -> Any:
    default = parameters_of(COMPONENTS[role].get(part.component))[name].default
    return part.options.get(name, default)
