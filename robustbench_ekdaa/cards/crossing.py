"""Models crossed with recipes: `ekdaa@sgd` is the card ekdaa, trained by the recipe card sgd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import UsageError
from .models import AnyModelCard, ModelCard, RecipeCard

AT = "@"
OWN = "own"  # the recipe that a model card has itself


def crossed_names(models: Iterable[str], recipes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all models under all recipes, model by model, each once.

    Args:
        models: names of model cards; one that names its recipe already, such as ``ekdaa@sgd``, is left as it is.
        recipes: names of recipe cards; ``own`` is the one that the model card has itself. None at all: that one.

    """
    pairs = ((name, recipe) for name in models for recipe in recipes or (OWN,))
    return tuple(
        dict.fromkeys(name if AT in name or recipe == OWN else f"{name}{AT}{recipe}" for name, recipe in pairs)
    )


def split_name(name: str) -> tuple[str, str | None]:
    """Return a model's card and the recipe card that its name adds, if any."""
    base, _, recipe = name.partition(AT)
    return base, recipe if recipe not in ("", OWN) else None


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
    """Return cards without those whose added recipe is, on this data set, one that its model has already."""
    kept: list[AnyModelCard] = []
    for card in cards:
        base, recipe = split_name(card.name)
        same = (other for other in kept if split_name(other.name)[0] == base)
        if recipe is None or not any(_alike(other, card, dataset) for other in same):
            kept.append(card)
    return kept


def _alike(one: AnyModelCard, other: AnyModelCard, dataset: str) -> bool:
    if not isinstance(one, ModelCard) or not isinstance(other, ModelCard):
        return False
    return one.identity(dataset) == other.identity(dataset)
