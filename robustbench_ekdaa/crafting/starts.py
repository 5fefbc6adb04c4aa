"""Where an attack starts: the clean images, or a random point around them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Annotated

from pydantic import Field
from torch import Tensor

from .moment import Moment, Start
from .threat import FLOOR, unit


def _linf_ball(at: Moment, shape: tuple[int, ...]) -> Tensor:
    return at.uniform("ball", shape).mul_(2).sub_(1)


def _l2_ball(at: Moment, shape: tuple[int, ...]) -> Tensor:
    direction = at.normal("ball", shape)
    radius = at.uniform("radius", shape[:1]) ** (1 / prod(shape[1:]))
    return unit(direction.flatten(0, 1)).view_as(direction) * radius[..., None, None, None]


def _l1_ball(at: Moment, shape: tuple[int, ...]) -> Tensor:
    """Laplace numbers over their absolute sum and one more exponential (Barthe et al., Ann. Probab. 2005)."""
    numbers = at.uniform("ball", shape).mul_(2).sub_(1)
    size = -(1 - numbers.abs()).clamp_min(FLOOR).log()
    slack = -(1 - at.uniform("radius", shape[:1])).clamp_min(FLOOR).log()
    return numbers.sign() * size / (size.flatten(2).sum(2) + slack)[..., None, None, None]


BALLS: dict[str, Callable[[Moment, tuple[int, ...]], Tensor]] = {"linf": _linf_ball, "l2": _l2_ball, "l1": _l1_ball}


def in_unit_ball(at: Moment, copies: int = 1) -> Tensor:
    """Points spread evenly over the unit ball of the threat model: (copies, N, C, H, W), each image with its own."""
    shape = (copies, *at.scene.images.shape[1:])
    return BALLS[at.threat.norm](at, shape).transpose(0, 1)


def uniform(*, size: Annotated[float, Field(gt=0, le=1)] = 1.0) -> Start:
    """A point spread evenly over the ball (Madry et al., ICLR 2018, arXiv:1706.06083).

    Args:
        size: radius of that ball in epsilons.
    """

    def start(images: Tensor, at: Moment) -> Tensor:
        return images.add(in_unit_ball(at)[0], alpha=size * at.epsilon)

    return start


def random_sign(*, size: Annotated[float, Field(gt=0, le=1)] = 0.5) -> Start:
    """A corner of a smaller ball, as in R+FGSM (Tramer et al., ICLR 2018, arXiv:1705.07204, equation 7).

    Args:
        size: how far to go, in epsilons.
    """

    def start(images: Tensor, at: Moment) -> Tensor:
        return at.threat.ascend(images, at.normal("sign", images.shape[1:]), size * at.epsilon)

    return start
