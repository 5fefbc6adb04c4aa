"""Models' names, crossed with recipes: `ekdaa@sgd` is the card ekdaa, trained by the recipe card sgd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import UsageError
from .models import AnyModelCard, ModelCard, RecipeCard

AT, EPOCH = "@", "#"
OWN = "own"  # the recipe that a model card has itself


def crossed_names(models: Iterable[str], recipes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all models under all recipes, model by model, each once.

    Args:
        models: names of model cards; one that names its recipe already, such as ``ekdaa@sgd``, is left as it is.
            ``ekdaa#3`` becomes ``ekdaa@sgd#3``.
        recipes: names of recipe cards; ``own`` is the one that the model card has itself. None at all: that one.

    """
    pairs = ((name, recipe) for name in models for recipe in recipes or (OWN,))
    return tuple(dict.fromkeys(_crossed(name, recipe) for name, recipe in pairs))


def _crossed(name: str, recipe: str) -> str:
    if AT in name or recipe == OWN:
        return name
    card, mark, epoch = name.partition(EPOCH)
    return f"{card}{AT}{recipe}{mark}{epoch}"


class ModelName(NamedTuple):
    """The parts of a model's name.

    Attributes:
        card: the model card.
        recipe: the recipe card that the name adds, if any.
        epoch: what it says of the epoch after which the training stops, if anything.

    """

    card: str
    recipe: str | None
    epoch: str | None


def split_name(name: str) -> ModelName:
    """Return the parts of a model's name, CARD@RECIPE#EPOCH."""
    crossed, mark, epoch = name.partition(EPOCH)
    card, _, recipe = crossed.partition(AT)
    return ModelName(card, recipe if recipe not in ("", OWN) else None, epoch if mark else None)


def under_recipe(card: AnyModelCard, recipe: RecipeCard) -> ModelCard:
    """Return a model card with all its recipes replaced by those of a recipe card.

    Raises:
        UsageError: for a model that was trained elsewhere.

    """
    if not isinstance(card, ModelCard):
        raise UsageError(
            f"{card.name}@{recipe.name}: {card.name} was trained elsewhere, so no recipe can be chosen for it. "
            f"Name it alone, and the others with theirs, such as backprop@{recipe.name}."
        )
    new = {
        "name": f"{card.name}{AT}{recipe.name}",
        "title": f"{card.label}, {recipe.label}",
        "training": recipe.training,
    }
    crossed = card.model_copy(update=new)
    crossed.take_recipes_from(recipe)
    return crossed


def without_repeats(cards: Iterable[AnyModelCard], dataset: str) -> list[AnyModelCard]:
    """Return cards without those that are others already on this data set.

    That is an added recipe which the model has itself, and the last epoch, which is the whole training.
    """
    kept: list[AnyModelCard] = []
    for card in {card.name: card for card in (card.on(dataset) for card in cards)}.values():
        name = split_name(card.name)
        same = (other for other in kept if split_name(other.name).card == name.card)
        if name.recipe is None or not any(_alike(other, card, dataset) for other in same):
            kept.append(card)
    return kept


def _alike(one: AnyModelCard, other: AnyModelCard, dataset: str) -> bool:
    if not isinstance(one, ModelCard) or not isinstance(other, ModelCard):
        return False
    return one.identity(dataset) == other.identity(dataset)
