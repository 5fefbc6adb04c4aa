"""Points spread evenly over the unit balls of the threat models."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from torch import Tensor

from .context import Context
from .threat import FLOOR, unit


def _linf_ball(context: Context, shape: tuple[int, ...]) -> Tensor:
    return context.uniform("ball", shape).mul_(2).sub_(1)


def _l2_ball(context: Context, shape: tuple[int, ...]) -> Tensor:
    direction = context.normal("ball", shape)
    radius = context.uniform("radius", shape[:1]) ** (1 / prod(shape[1:]))
    return unit(direction.flatten(0, 1)).view_as(direction) * radius[..., None, None, None]


def _l1_ball(context: Context, shape: tuple[int, ...]) -> Tensor:
    """Laplace numbers over their absolute sum and one more exponential (Barthe et al., Ann. Probab. 2005)."""
    numbers = context.uniform("ball", shape).mul_(2).sub_(1)
    size = -(1 - numbers.abs()).clamp_min(FLOOR).log()
    slack = -(1 - context.uniform("radius", shape[:1])).clamp_min(FLOOR).log()
    return numbers.sign() * size / (size.flatten(2).sum(2) + slack)[..., None, None, None]


BALLS: dict[str, Callable[[Context, tuple[int, ...]], Tensor]] = {"linf": _linf_ball, "l2": _l2_ball, "l1": _l1_ball}


def in_unit_ball(context: Context, copies: int = 1) -> Tensor:
    """Return random points, spread evenly over the unit ball of the threat model: float32 (copies, N, C, H, W).

    Args:
        context: says which threat model and which images, and draws the numbers; each image has its own.
        copies: how many points per image.
    """
    shape = (copies, *context.task.images.shape[1:])
    return BALLS[context.threat.norm](context, shape).transpose(0, 1)
