"""Where an attack starts: the clean images, or a random point around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .moment import Moment, Start
from .threat import FLOOR, column, unit


def _linf_ball(at: Moment, like: Tensor) -> Tensor:
    return at.uniform("ball", like.shape[1:], like).mul_(2).sub_(1)


def _l2_ball(at: Moment, like: Tensor) -> Tensor:
    direction = unit(at.normal("ball", like.shape[1:], like))
    return direction * column(at.uniform("radius", (), like) ** (1 / like[0].numel()))


def _l1_ball(at: Moment, like: Tensor) -> Tensor:
    """Laplace numbers over their absolute sum and one more exponential (Barthe et al., Ann. Probab. 2005)."""
    numbers = at.uniform("ball", like.shape[1:], like).mul_(2).sub_(1)
    size = -(1 - numbers.abs()).clamp_min(FLOOR).log()
    slack = -(1 - at.uniform("radius", (), like)).clamp_min(FLOOR).log()
    return numbers.sign() * size / column(size.flatten(1).sum(1) + slack)


BALLS: dict[str, Callable[[Moment, Tensor], Tensor]] = {"linf": _linf_ball, "l2": _l2_ball, "l1": _l1_ball}


def in_unit_ball(at: Moment, like: Tensor) -> Tensor:
    """One point per image, spread evenly over the unit ball of the threat model, in the shape of ``like``."""
    return BALLS[at.threat.norm](at, like) if len(like) else like


def uniform(*, size: Annotated[float, Field(gt=0, le=1)] = 1.0) -> Start:
    """A point spread evenly over the ball (Madry et al., ICLR 2018, arXiv:1706.06083).

    Args:
        size: radius of that ball in epsilons.
    """

    def start(images: Tensor, at: Moment) -> Tensor:
        return torch.add(images, in_unit_ball(at, images), alpha=size * at.epsilon)

    return start


def random_sign(*, size: Annotated[float, Field(gt=0, le=1)] = 0.5) -> Start:
    """A corner of a smaller ball, as in R+FGSM (Tramer et al., ICLR 2018, arXiv:1705.07204, equation 7).

    Args:
        size: how far to go, in epsilons.
    """

    def start(images: Tensor, at: Moment) -> Tensor:
        return at.threat.ascend(images, at.normal("sign", images.shape[1:], images), size * at.epsilon)

    return start
