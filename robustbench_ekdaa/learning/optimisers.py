"""The optimiser and schedule a recipe names, straight from torch.optim."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from ..cards import Recipe
from ..errors import UsageError, shown, told, unknown_name
from .rule import LearningRule

Schedule = torch.optim.lr_scheduler.LRScheduler


def _classes(module: Any, base: type, without: tuple[str, ...]) -> dict[str, type]:
    found = {name: thing for name, thing in vars(module).items() if inspect.isclass(thing) and issubclass(thing, base)}
    return {
        name: thing
        for name, thing in found.items()
        if not name.startswith("_") and name not in (*without, base.__name__)
    }


def optimiser_names() -> dict[str, type]:
    """All optimisers a recipe may name. LBFGS and SparseAdam need more than one dense gradient a step."""
    return _classes(torch.optim, torch.optim.Optimizer, without=("LBFGS", "SparseAdam"))


def schedule_names() -> dict[str, type]:
    """All schedules a recipe may name: those that step once an epoch and need no metric or inner schedule."""
    without = ("LRScheduler", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler", "LambdaLR", "MultiplicativeLR")
    return _classes(torch.optim.lr_scheduler, Schedule, without)


def make_optimiser(recipe: Recipe, rule: LearningRule, where: str) -> torch.optim.Optimizer:
    """Make the recipe's optimiser over the network's and the rule's parameters, the latter as their own group.

    Raises:
        UsageError: for an unknown optimiser or an option it does not take.

    """
    known = optimiser_names()
    if recipe.optimizer not in known:
        raise UsageError(f"{where}.optimizer: {unknown_name('optimiser of torch.optim', recipe.optimizer, known)}")
    refuse_other_types(known[recipe.optimizer], recipe.optimizer_options, f"{where}.optimizer_options")
    groups: list[dict[str, Any]] = [{"params": list(rule.network.parameters())}]
    feedback: list[nn.Parameter] = rule.feedback_parameters()
    if feedback:
        groups.append({"params": feedback, **rule.feedback_options})
    try:
        return known[recipe.optimizer](groups, lr=recipe.learning_rate, **recipe.optimizer_options)  # type: ignore[no-any-return]
    except Exception as error:  # torch's classes say in many ways that an option is wrong
        raise UsageError(f"{where}.optimizer_options: {recipe.optimizer} refuses them: {told(error)}") from None


def make_schedule(recipe: Recipe, optimiser: torch.optim.Optimizer, where: str) -> Schedule | None:
    """Make the recipe's schedule, stepped once an epoch, or None."""
    if recipe.schedule is None:
        return None
    known = schedule_names()
    if recipe.schedule not in known:
        raise UsageError(f"{where}.schedule: {unknown_name('schedule of torch.optim', recipe.schedule, known)}")
    refuse_other_types(known[recipe.schedule], recipe.schedule_options, f"{where}.schedule_options")
    try:
        return known[recipe.schedule](optimiser, **recipe.schedule_options)  # type: ignore[no-any-return]
    except Exception as error:
        raise UsageError(f"{where}.schedule_options: {recipe.schedule} refuses them: {told(error)}") from None


def refuse_other_types(kind: type, options: dict[str, Any], where: str) -> None:
    """Raise UsageError for an option of another type than its default: torch takes true as 1, and "8" till it steps."""
    parameters = inspect.signature(kind).parameters
    for name in sorted(options.keys() & parameters.keys()):
        default, value = parameters[name].default, options[name]
        wanted, types = _type_of(default)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise UsageError(f"{where}.{name}: must be {wanted} (got {shown(value)})")


def _type_of(default: Any) -> tuple[str, tuple[type, ...]]:
    if default is None:
        return "anything", (object, bool)
    if isinstance(default, bool):
        return "true or false", (bool,)
    if isinstance(default, str):
        return "text", (str,)
    if isinstance(default, tuple):
        return "a list", (list, tuple)
    # What has to be given is a number, or a list of numbers, in all classes of torch.
    return "a number", (int, float, list, tuple)
