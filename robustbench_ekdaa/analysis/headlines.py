"""Which comparisons a report opens with: every card against backprop, recipe by recipe where recipes were crossed."""

from __future__ import annotations

from collections.abc import Sequence

from ..cards.crossing import split_name
from ..storing.outcomes import Outcomes
from .checks.cards import recorded_recipe
from .comparison import Comparison
from .regimes import CardPair
from .standing import NOT_RANKED, standings

REFERENCE = "backprop"  # the card, or the learning rule, that others are compared with


def opening_pairs(comparison: Comparison) -> list[CardPair]:
    """Return the pairs to open with, the card that is compared first, backprop second.

    Backprop is the card of that name under every recipe, or else all cards of that learning rule. A card that shares
    its recipe with one of them is compared with those that do; any other with all. Where all cards are backprop's, or
    none is, all pairs are taken.
    """
    pairs = comparison.pairs()
    cards = list(dict.fromkeys(card for pair in pairs for card in pair))
    references = _references(comparison.outcomes, cards)
    others = [card for card in cards if card not in references]
    if not references or not others:
        return pairs
    return [(card, one) for card in others for one in _alike(comparison.outcomes, card, references) or references]


def not_compared(comparison: Comparison) -> dict[str, str]:
    """Return why some target cards are in no pair, by card."""
    known = standings(comparison.outcomes)
    weak = [card for card in comparison.cards if known[card].kind == NOT_RANKED]
    return {card: (known[card].reason or NOT_RANKED).removeprefix(f"{NOT_RANKED}: ") for card in weak}


def _references(outcomes: Outcomes, cards: Sequence[str]) -> list[str]:
    rules = {model.name: model.rule for model in outcomes.models.values()}
    named = [card for card in cards if split_name(card).card == REFERENCE]
    return named or [card for card in cards if rules[card] == REFERENCE]


def _alike(outcomes: Outcomes, card: str, references: Sequence[str]) -> list[str]:
    """Return the references that were trained by a card's recipe, as recorded; of early releases, as named."""
    own, name = recorded_recipe(outcomes, card), split_name(card).recipe
    if own is not None:
        return [one for one in references if recorded_recipe(outcomes, one) == own]
    return [one for one in references if name is not None and split_name(one).recipe == name]
