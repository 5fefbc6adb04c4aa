"""Contexts such as attack components are given."""

from robustbench_ekdaa.crafting.context import Budget, Context, Task
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.randomness import ImageDraws

EPSILON = 0.1
STEP = EPSILON / 10


def context_of(images, labels, pool=None, norm="linf", name="test"):
    """The first step of an untargeted attack, which goes EPSILON far in steps of STEP."""
    draws = ImageDraws(0, name, range(len(images)))
    task = Task(images, labels, labels, pool or (images, labels), draws, THREATS[norm])
    return Context(task, Budget(EPSILON, STEP))
