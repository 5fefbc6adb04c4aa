"""When a component has an effect: declared beside it, and checked when a card is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..cards import AttackCard
from ..errors import UsageError
from ..registry import COMPONENTS, Factory


@dataclass(frozen=True)
class Effect:
    """When a component has an effect.

    Attributes:
        needs: an entry of the state that another component has to keep.
        keeps: the entry of the state that this one keeps from step to step.
        steps: it does nothing in fewer.

    """

    needs: str | None = None
    keeps: str | None = None
    steps: int = 1


def effective(*, needs: str | None = None, keeps: str | None = None, steps: int = 1) -> Callable[[Factory], Factory]:
    """Return a decorator that says when a component has an effect; cards in which it has none are refused.

    Args:
        needs: an entry of the state that another component has to keep, such as "momentum".
        keeps: the entry of the state that this one keeps from step to step.
        steps: it does nothing in an attack of fewer steps.

    """

    def declare(factory: Factory) -> Factory:
        factory.__dict__["effect"] = Effect(needs, keeps, steps)
        return factory

    return declare


def effect_of(factory: object) -> Effect:
    """Return what a component declares; one that declares nothing is never refused."""
    declared = getattr(factory, "effect", None)
    return declared if isinstance(declared, Effect) else Effect()


def check_effects(card: AttackCard, parts: Iterable[tuple[str, str, object]]) -> None:
    """Raise UsageError, naming file and field, for a component that would do nothing in a card.

    Args:
        card: the card.
        parts: its components: field, name and factory.

    """
    found = [(field, name, effect_of(factory)) for field, name, factory in parts]
    keepers: dict[str, str] = {}
    for field, name, effect in found:
        if effect.keeps is None:
            continue
        if effect.keeps in keepers:
            raise UsageError(
                f"{card.at(field)}.component: {name} would overwrite the {effect.keeps} that {keepers[effect.keeps]} "
                "keeps; leave one of them out"
            )
        keepers[effect.keeps] = name
    for field, name, effect in found:
        if effect.needs is not None and effect.needs not in keepers:
            raise UsageError(
                f"{card.at(field)}.component: {name} has no effect without {effect.needs}; {_advice(effect.needs)}"
            )
        if 0 < card.steps < effect.steps:
            raise UsageError(
                f"{card.at(field)}.component: {name} has no effect in an attack of fewer than {effect.steps} steps "
                f"(got {card.steps}); raise steps, or leave it out"
            )


def _advice(entry: str) -> str:
    """Say which of the known components keep an entry of the state."""
    for role, registry in COMPONENTS.items():
        for name in registry:
            factory = registry.builtin(name)
            if factory is not None and effect_of(factory).keeps == entry:
                return f'give the card [{role}] component = "{name}"'
    return "give the card a component that keeps it"
