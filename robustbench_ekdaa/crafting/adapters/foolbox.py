"""Attacks of Foolbox as cards: its PGD family, minimal-norm attacks and decision-based attacks."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from typing import Any

import torch
from torch import Tensor

from ...errors import UsageError, unknown_name
from ..threat import column
from .libraries import Attempt, Library, Part, Shown, smallest_first, within_each_ball


def foolbox_attack(
    *, norm: str, targeted: bool, attack: str, options: dict[str, Any] | None = None, batched: bool = False
) -> Attempt:
    """Run a class of `foolbox.attacks` (Rauber et al., JOSS 2020).

    Args:
        norm: the card's norm.
        targeted: whether the card has a target.
        attack: the class's name, such as ``"L2DeepFoolAttack"``.
        options: arguments of its constructor.
        batched: whether whole batches may be given to it; only for attacks without randomness.

    """
    _import_foolbox()
    from foolbox.attacks.base import MinimizationAttack
    from foolbox.attacks.fast_minimum_norm import FMNAttackLp
    from foolbox.criteria import Misclassification, TargetedMisclassification
    from foolbox.models.pytorch import PyTorchModel

    made = _instance(attack, norm, options or {})
    criterion = TargetedMisclassification if targeted else Misclassification

    def run(shown: Shown, part: Part, epsilon: float | None) -> Tensor:
        model = PyTorchModel(shown.eval(), bounds=(0, 1), device=part.images.device)
        limit = {} if epsilon is None else {"epsilon": epsilon}
        try:
            result: Tensor = made.run(model, part.images, criterion(part.goal), **limit)
        except ValueError as error:
            if "unsupported criterion" in str(error):
                knows = "knows no targets; leave target out of its card" if targeted else "needs a target in its card"
                raise UsageError(f"foolbox {attack}: {knows}") from None
            if "init_attack failed" not in str(error):
                raise
            return part.images  # no starting point was found: nothing to return but the image itself
        if isinstance(made, FMNAttackLp):
            result = _across(made, model, part, criterion, result)
        return result

    library = Library(f"foolbox {attack}", run, batched)
    if isinstance(made, MinimizationAttack):
        return smallest_first(library, targeted=targeted)
    return within_each_ball(library)


def _import_foolbox() -> None:
    """Import Foolbox, which uses names that SciPy warns of; for some callers, warnings are errors."""
    if "foolbox" not in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("foolbox")


def _across(fmn: Any, model: Any, part: Part, criterion: Any, result: Tensor) -> Tensor:
    """Let FMN start anew from beyond a boundary that it never crossed, where DDN gets there.

    Until it has crossed once, its radius is the distance on a linear network (Pintor et al., NeurIPS 2021,
    arXiv:2102.12827, algorithm 1); what [0, 1] cuts off each step is missing, and it stops just short for ever.
    """
    from eagerpy.astensor import astensor
    from foolbox.attacks.ddn import DDNAttack

    def short(images: Tensor) -> Tensor:
        short_of_it: Tensor = criterion(part.goal)(images, model(images)).logical_not()
        return short_of_it

    failed = short(result)
    if not failed.any():
        return result
    beyond = torch.where(column(failed), DDNAttack().run(model, part.images, criterion(part.goal)), result)
    rescued = failed & ~short(beyond)
    if rescued.any():
        start = astensor(beyond[rescued])
        beyond[rescued] = fmn.run(model, part.images[rescued], criterion(part.goal[rescued]), starting_points=start)
    return beyond


def _instance(attack: str, norm: str, options: dict[str, Any]) -> Any:
    """Build the attack, with the card's distance where it leaves a choice; raises UsageError when they do not fit."""
    import foolbox.attacks
    from foolbox import distances
    from foolbox.attacks.base import AttackWithDistance

    known = {
        name: value
        for name, value in vars(foolbox.attacks).items()
        if inspect.isclass(value) and issubclass(value, AttackWithDistance)
    }
    if attack not in known:
        raise unknown_name("Foolbox attack", attack, known)
    if "distance" in options:
        raise UsageError(f"foolbox {attack}: the option distance would have no effect: the card's norm decides it")
    distance = getattr(distances, norm)
    if "distance" in inspect.signature(known[attack]).parameters:
        options = {**options, "distance": distance}
    try:
        made = known[attack](**options)
    except ModuleNotFoundError as error:
        raise UsageError(f"foolbox {attack}: needs the package {error.name}. Install it and try again.") from None
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"foolbox {attack}: {' '.join(str(error).split())}") from None
    if getattr(made, "distance", distance) is not distance:
        raise UsageError(f"foolbox {attack}: measures {made.distance}, but the card's norm is {norm}")
    return made
