"""Where an attack starts: the clean images, or a random point around them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ..balls import in_unit_ball
from ..context import Context, Start


def uniform(*, size: Annotated[float, Field(gt=0, le=1)] = 1.0) -> Start:
    """A point spread evenly over the ball (Madry et al., ICLR 2018, arXiv:1706.06083).

    Args:
        size: radius of that ball in epsilons.
    """

    def start(images: Tensor, context: Context) -> Tensor:
        return images.add(in_unit_ball(context)[0], alpha=size * context.epsilon)

    return start


def random_sign(*, size: Annotated[float, Field(gt=0, le=1)] = 0.5) -> Start:
    """A corner of a smaller ball, as in R+FGSM (Tramer et al., ICLR 2018, arXiv:1705.07204, equation 7).

    Args:
        size: how far to go, in epsilons.
    """

    def start(images: Tensor, context: Context) -> Tensor:
        return context.threat.ascend(images, context.normal("sign", images.shape[1:]), size * context.epsilon)

    return start
