"""Whether what is compared may be compared: cards that learned something, equally well, under one recipe."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...cards.crossing import EPOCH
from ...registry import RULES
from ...storing.outcomes import ModelRecord, Outcomes
from ..metrics import accuracy
from ..standing import NOT_RANKED, chance_level, standings
from ..transfer import card_names
from .finding import FAIL, WARN, Finding, passed, ranked, some, title

UNEQUAL = 0.01  # clean accuracies further apart than this make raw accuracies under attack hard to compare
PERMUTED = 0.2  # what naming the classes anew may gain before it is no accident
# Optimisers whose steps do not depend on the size of gradients.
SCALE_FREE = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SparseAdam")


def _clean(outcomes: Outcomes, card: str) -> float:
    keys = [key for key, one in outcomes.models.items() if one.name == card and key in outcomes.clean]
    return float(np.mean([accuracy(outcomes.clean[key], outcomes.labels) for key in keys]))


def standing(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for cards that are not shown to beat chance, or the frozen control of their network."""
    found = standings(outcomes)
    for card, one in found.items():
        if one.kind == NOT_RANKED and one.reason:
            reason = one.reason.removeprefix(f"{NOT_RANKED}: ")
            yield Finding(
                "standing",
                FAIL,
                100 * _clean(outcomes, card),
                card,
                f"Not ranked, and in no common set: {title(outcomes, card)} ({reason}). What it keeps under attack "
                "says nothing about robustness: a model that always answers the same falls for no attack.",
                "Train it longer or with another learning rate, or leave it out.",
                (card,),
            )
    if found and all(one.kind != NOT_RANKED for one in found.values()):
        lowest = min(_clean(outcomes, card) for card in found)
        yield passed("standing", 100 * lowest, f"Every card beats chance ({100 * chance_level(outcomes):.1f} %).")


def clean_accuracies(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare the clean accuracies of the ranked cards; controls are meant to be worse."""
    cards = ranked(outcomes)
    if len(cards) < 2:
        return
    clean = {card: _clean(outcomes, card) for card in cards}
    lowest, highest = (choose(clean, key=lambda card: clean[card]) for choose in (min, max))
    apart = clean[highest] - clean[lowest]
    if apart <= UNEQUAL + 1e-9:
        yield passed("clean_accuracies", 100 * apart, "Clean accuracies are within one point.")
        return
    yield Finding(
        "clean_accuracies",
        WARN,
        100 * apart,
        f"{lowest} and {highest}",
        f"Clean accuracies differ by up to {100 * apart:.1f} points, so that neither accuracy under attack nor area "
        "compares these cards fairly, and area / clean only rescales.",
        "“Fooled, of common images” compares them on the same images.",
        tuple(card for card in cards if max(clean[card] - clean[lowest], clean[highest] - clean[card]) > UNEQUAL),
    )


def permuted_labels(outcomes: Outcomes) -> Iterator[Finding]:
    """Let every model's classes be named anew: one that gains much was trained under another order of the classes."""
    from scipy.optimize import linear_sum_assignment

    gains: dict[str, float] = {}
    count = len(outcomes.classes)
    for key, predicted in outcomes.clean.items():
        known = predicted < count
        table = np.zeros((count, count))
        np.add.at(table, (predicted[known], outcomes.labels[known]), 1)
        rows, columns = linear_sum_assignment(table, maximize=True)
        gain = float(table[rows, columns].sum() - np.trace(table)) / max(len(predicted), 1)
        card = outcomes.models[key].name
        gains[card] = max(gains.get(card, 0.0), gain)
    for card, gain in gains.items():
        # Of few images per class, some order of the classes always fits by accident.
        if gain > PERMUTED + np.sqrt(count / max(len(outcomes.labels), 1)):
            yield Finding(
                "permuted_labels",
                FAIL,
                100 * gain,
                card,
                f"{title(outcomes, card)} would be right on {100 * gain:.0f} % more of the images if its classes stood "
                "in another order.",
                "Give the model the data set's order of classes, and look for images whose labels were mixed up.",
                (card,),
            )
    if gains and not any(gain > PERMUTED + np.sqrt(count / max(len(outcomes.labels), 1)) for gain in gains.values()):
        yield passed("permuted_labels", 100 * max(gains.values()), "No other order of the classes fits much better.")


def recipes(outcomes: Outcomes) -> Iterator[Finding]:
    """Compare the recipes that the compared cards were trained under, field by field."""
    known = {card: recipe for card in _trainings(outcomes) if (recipe := recorded_recipe(outcomes, card))}
    if len(known) < 2:
        return
    fields = differing(list(known.values()))
    if not fields:
        yield passed("recipes", 0, "All cards were trained under one recipe.")
        return
    groups: dict[str, list[str]] = {}
    for card, recipe in known.items():
        groups.setdefault(", ".join(f"{field} {_shown(recipe.get(field))}" for field in fields), []).append(card)
    yield Finding(
        "recipes",
        WARN,
        len(fields),
        some([" and ".join(cards) for cards in groups.values()], " | "),
        f"Cards were trained under {len(groups)} recipes, which is a treatment of its own. They differ in "
        f"{', '.join(fields)}: " + some([f"{', '.join(cards)}: {what}" for what, cards in groups.items()]) + ".",
        "Cross rules with recipes: --recipes sgd,adamw on train and sweep.",
        tuple(known),
    )


def _trainings(outcomes: Outcomes) -> list[str]:
    """Return the target cards; earlier epochs of a training are none of their own."""
    return [card for card in card_names(outcomes, outcomes.targets) if EPOCH not in card]


def differing(recipes: list[Mapping[str, Any]]) -> list[str]:
    """Return the fields in which recipes differ; a field that is not there has its default."""
    fields = dict.fromkeys(field for recipe in recipes for field in recipe)
    return [field for field in fields if any(recipe.get(field) != recipes[0].get(field) for recipe in recipes)]


def recorded_recipe(outcomes: Outcomes, card: str) -> Mapping[str, Any] | None:
    """Return a card's recipe; None where nobody recorded it: of early releases, and of models from elsewhere."""
    for record in outcomes.models.values():
        identity = record.metrics.get("training")
        if record.name == card and isinstance(identity, dict) and isinstance(identity.get("recipe"), dict):
            recipe: Mapping[str, Any] = identity["recipe"]
            return recipe
    return None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_shown(each)}" for name, each in value.items()) + ")"
    return "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def idle_options(outcomes: Outcomes) -> Iterator[Finding]:
    """Look for options that only scale a gradient, under optimisers that ignore the size of gradients."""
    idle, seen = [], 0
    for card in _trainings(outcomes):
        record = next(one for one in outcomes.models.values() if one.name == card)
        recipe = recorded_recipe(outcomes, card)
        optimiser = recipe.get("optimizer", "SGD") if recipe else None
        seen += recipe is not None
        for option, value in _scales(record).items() if optimiser in SCALE_FREE else ():
            meaning = f"{option} = {value:g} has no effect in {title(outcomes, card)}: {optimiser} ignores the size of "
            meaning += "gradients."
            remedy = "Train it by SGD, or say what the rule is without it."
            idle.append(Finding("idle_options", WARN, 1, f"{card}: {option}", meaning, remedy, (card,)))
    yield from idle
    if seen and not idle:
        yield passed("idle_options", 0, "Every option has an effect under its optimiser.")


def _scales(record: ModelRecord) -> dict[str, float]:
    """Return the options by which a model's rule scales gradients; at 0 and 1 they say something else than a scale."""
    rule = RULES.builtin(record.rule)
    given = record.metrics["training"].get("rule_options", {})
    defaults = inspect.signature(rule).parameters if isinstance(rule, type) else {}
    values = {name: given.get(name, defaults[name].default) for name in getattr(rule, "scales", ()) if name in defaults}
    return {name: float(value) for name, value in values.items() if value not in (0, 1)}
