"""From where attacks come: foreign surrogates, either side's kin, the target itself; two cards' difference under each.

A rule that looks robust under one kind of attacker may fall to another: a target falls most to surrogates of its own
kind. So a comparison is made under each kind apart, and a verdict asks that they do not contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..cards.crossing import AT, EPOCH, split_name
from ..names import folded
from .arena import Arena
from .intervals import difference_interval, variance_parts
from .kept import Kept, Masks
from .verdict import CLEAN_MARGIN, COMMON, EQUAL, PRIMARY, Regime

CardPair = tuple[str, str]
RegimePart = tuple[str, str, Kept, Kept, Masks | None]  # slot, name, both cards' shares, which images


def pair_regimes(arena: Arena, first: str, second: str) -> tuple[Regime, ...]:
    """Return the regimes that have outcomes of both cards, the primary one first; p-values are not adjusted yet."""
    return tuple(_regime(*part) for part in _parts(arena, first, second))


def _parts(arena: Arena, first: str, second: str) -> Iterator[RegimePart]:
    masks = arena.common(first, second)
    nothing_common = not masks.whole.any()
    if nothing_common and arena.metric == "asr-common":
        return
    counted = masks if arena.metric == "asr-common" else None

    def part(
        slot: str, kept: Mapping[str, Kept], name: str = "", cards: CardPair | None = None
    ) -> Iterator[RegimePart]:
        one, other = cards or (first, second)
        if one in kept and other in kept:
            yield slot, name or slot, kept[one], kept[other], counted

    rules = [next(model.rule for model in arena.targets if model.name == name) for name in (first, second)]
    crossed = arena.crossed(*rules)
    by_rule = {folded(model.rule): model.rule for model in crossed}
    groups = {key: arena.rows(model for model in crossed if folded(model.rule) == key) for key in by_rule}
    everyone = arena.under([arena.rows(arena.surrogates)])
    primary = arena.under(list(groups.values())) if groups else everyone
    if groups:
        yield from part(PRIMARY, primary)
        for key, rows in groups.items():
            yield from part("foreign part", arena.under([rows]), f"{PRIMARY} trained by {by_rule[key]}")
    yield from part("all surrogates alike", everyone)
    for name, rows in _kin(arena, (first, second), rules):
        yield from part("kin", arena.under([rows]), f"surrogates of {name}'s kind")
    yield from part("strongest surrogate per image", arena.strongest)
    for slot, attacks in _on_itself(arena):
        yield from part(slot, arena.itself(attacks))
    if not nothing_common and counted is None:
        yield from ((COMMON, COMMON, *rest[2:4], masks) for rest in part(COMMON, primary))
    for slot, name, cards in (*_equal_accuracy(arena, first, second), *_same_recipes(arena, first, second)):
        yield from part(slot, primary, name, cards)


def _kin(arena: Arena, cards: CardPair, rules: Sequence[str]) -> Iterator[tuple[str, list[list[int]]]]:
    """Yield each card's kin among surrogates of the targets' architectures.

    These are of its rule, or, where both cards have one rule, of the card itself.
    """
    near = [model for model in arena.surrogates if model.key not in arena.outcomes.foreign]
    alike = folded(rules[0]) == folded(rules[1])
    for name, rule in zip(cards, rules, strict=True):
        kin = [model for model in near if (model.name == name if alike else folded(model.rule) == folded(rule))]
        if kin:
            yield name, arena.rows(kin)


def _on_itself(arena: Arena) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the anchors: attacks on the target itself, by what they may know and look for."""
    yield "white-box", arena.following_attacks
    yield "query attack", arena.asking_attacks
    if arena.metric != "minimal-norm":
        yield "minimal norm", arena.minimal_norm_attacks


def _equal_accuracy(arena: Arena, first: str, second: str) -> Iterator[tuple[str, str, CardPair]]:
    """Yield the pair in which the card that is more accurate is taken at the epoch where it was as accurate."""
    clean = arena.clean_accuracy
    if clean[first] == clean[second]:
        return
    better, worse = (first, second) if clean[first] > clean[second] else (second, first)
    epochs = sorted(name for name in clean if name.partition(EPOCH)[0] == better and EPOCH in name)
    best = min(epochs, key=lambda name: abs(clean[name] - clean[worse]), default=None)
    if best is not None and abs(clean[best] - clean[worse]) <= min(CLEAN_MARGIN, clean[better] - clean[worse]):
        pair = (best, worse) if better == first else (worse, best)
        yield EQUAL, f"{EQUAL}: {best} and {worse}", pair


def _same_recipes(arena: Arena, first: str, second: str) -> Iterator[tuple[str, str, CardPair]]:
    """Yield the same two cards under one recipe, for every recipe that both were trained by."""
    one, other = split_name(first).card, split_name(second).card
    if one == other:
        return
    recipes = sorted({split_name(name).recipe or "" for name in arena.clean_accuracy} - {""})
    for recipe in recipes:
        pair = _under_recipe(arena, one, recipe), _under_recipe(arena, other, recipe)
        if pair[0] and pair[1] and pair != (first, second):
            yield "same recipe", f"same recipe: {recipe}", (pair[0], pair[1])


def _under_recipe(arena: Arena, card: str, recipe: str) -> str | None:
    """Return the name of the target that is a card under a recipe, if there is one.

    A sweep does not train a crossing that is the same as the card's own recipe: there, it is the card itself.
    """
    crossed, spec = f"{card}{AT}{recipe}", arena.outcomes.spec
    if crossed in arena.clean_accuracy:
        return crossed
    asked = crossed in spec.get("models", ()) or (card in spec.get("models", ()) and recipe in spec.get("recipes", ()))
    failed = any(model.name == crossed for model in arena.outcomes.models.values())
    return card if asked and not failed and card in arena.clean_accuracy else None


def _regime(slot: str, name: str, first: Kept, second: Kept, masks: Masks | None) -> Regime:
    sample = first.minus(second, masks)
    interval, (images, seeds) = difference_interval(sample), variance_parts(sample)
    ends = (float(interval.estimate), float(interval.low), float(interval.high))
    p, sure = float(interval.p), float(interval.p_better)
    return Regime(name, slot, *ends, p, sure, sample.n_seeds, sample.n_images, float(images), float(seeds), p_alone=p)


def turned(regime: Regime) -> Regime:
    """Return the regime for the two cards in the other order."""
    low, high = -regime.high, -regime.low
    return replace(regime, difference=-regime.difference, low=low, high=high, p_better=1 - regime.p_better)
