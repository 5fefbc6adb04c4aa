"""Trainings of the built-in cards on the digits, shortened to three epochs."""

from robustbench_ekdaa.cards import ModelCard, Workspace
from robustbench_ekdaa.learning.job import TrainingJob


def card(name="ekdaa", **changes):
    whole = Workspace().models[name].model_dump()
    recipe = whole["training"]["digits"]
    recipe.update(epochs=3, **changes)
    whole["training"] = {"default": recipe}
    return ModelCard.model_validate(whole)


def job(digits, name="ekdaa", seed=0, **changes):
    return TrainingJob(card(name, **changes), "digits", digits.fingerprint, seed)
