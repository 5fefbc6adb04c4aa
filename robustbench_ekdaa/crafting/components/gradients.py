"""Gradient transforms: what is done around the gradient of the loss before it becomes a direction.

A card lists them in the order in which they are applied: each wraps all before it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ...errors import UsageError, shown
from ..balls import in_unit_ball
from ..context import Context, Gradient, State, Wrapper
from ..effect import effective
from ..kernels import convolve, kernel_side, kernel_weights
from ..threat import mean_size_one

SHARE_OF_SIDE = re.compile(r"side / [1-9]\d{0,3}(\.\d{1,3})?", re.ASCII)


@effective(needs="momentum")
def look_ahead(*, decay: Annotated[float, Field(gt=0)] = 1.0) -> Wrapper:
    """Ask where momentum is about to lead (NI; Lin et al., ICLR 2020, arXiv:1908.06281, equation 6).

    Args:
        decay: that of the momentum it goes with.
    """

    def wrap(gradient: Gradient) -> Gradient:
        def ahead(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            if "momentum" in state:
                images = images.add(state["momentum"], alpha=decay * context.per_pixel(context.step_size))
            return gradient(images, context, state)

        return ahead

    return wrap


@effective(keeps="variance", steps=2)
def variance_tuning(
    *, neighbours: Annotated[int, Field(ge=1, le=1_000)] = 20, radius: Annotated[float, Field(gt=0)] = 1.5
) -> Wrapper:
    """Add how gradients nearby differed from the last one (VMI, VNI; Wang & He, CVPR 2021, arXiv:2103.15571).

    The variance v(x) is the mean gradient at ``neighbours`` points in the ball of ``radius`` epsilons around x, minus
    the gradient asked at x. It is computed when the next step needs it, never after the last. Neighbours know of no
    momentum, so that after `look_ahead` they lie around x itself, as in the authors' code.

    Args:
        neighbours: N of the paper.
        radius: beta of the paper.
    """

    def wrap(gradient: Gradient) -> Gradient:
        def variance(images: Tensor, here: Tensor, context: Context) -> Tensor:
            total = torch.zeros_like(images)
            for number, offset in enumerate(in_unit_ball(context.within("neighbours"), neighbours)):
                nearby = images.add(offset, alpha=radius * context.epsilon)
                total += gradient(nearby, context.within(f"neighbour {number}"), {})[0]
            return total / neighbours - here

        def tuned(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            here, after = gradient(images, context, state)
            after = {**after, "variance": (images, here)}
            if "variance" not in state:
                return here, after
            last_images, last_here = state["variance"]
            return here + variance(last_images, last_here, context.at_step(context.step - 1)), after

        return tuned

    return wrap


@effective(keeps="average", steps=2)
def sampling(
    *, samples: Annotated[int, Field(ge=2, le=1_000)] = 11, radius: Annotated[float, Field(gt=0)] = 7.0
) -> Wrapper:
    """Average along the line of the last average (EMI; Wang et al., BMVC 2021, arXiv:2103.10609, equations 8 and 9).

    The points lie at equal distances from -radius to radius steps along the last average gradient. Before there is
    one they coincide, and one gradient does.

    Args:
        samples: N of the paper.
        radius: eta of the paper.
    """

    def wrap(gradient: Gradient) -> Gradient:
        def averaged(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            if "average" not in state:
                mean, after = gradient(images, context, state)
            else:
                mean, after = torch.zeros_like(images), state
                for number, factor in enumerate(
                    torch.linspace(-radius, radius, samples, dtype=torch.float32, device="cpu").tolist()
                ):
                    there = images.add(state["average"], alpha=factor * context.per_pixel(context.step_size))
                    slope, after = gradient(there, context.within(f"sample {number}"), state)
                    mean += slope
            average = mean_size_one(mean)
            return average, {**after, "average": average}

        return averaged

    return wrap


def kernel_smoothing(
    *,
    kernel: Literal["gaussian", "linear", "uniform"] = "gaussian",
    size: Annotated[int, Field(ge=3, le=255)] | str = 15,
) -> Wrapper:
    """Smooth the gradient, as if the image were shifted (TI; Dong et al., CVPR 2019, arXiv:1904.02884, section 3.2).

    Outside the image the gradient is zero; the kernel may be larger than the image.

    Args:
        kernel: the weights of the shifts; the Gaussian ends at three standard deviations.
        size: side of the kernel: pixels, an odd number; or a share of the image's shorter side, such as "side / 5",
            which is taken to the nearest odd number from 5 to 15.
    """
    if isinstance(size, int) and size % 2 == 0:
        raise UsageError(f"kernel_smoothing: size must be odd, or the gradient would shift (got {size})")
    if isinstance(size, str) and not SHARE_OF_SIDE.fullmatch(size):
        raise UsageError(
            f'kernel_smoothing: size must be an odd number or a share such as "side / 5" (got {shown(size)})'
        )

    def wrap(gradient: Gradient) -> Gradient:
        def smoothed(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            slope, state = gradient(images, context, state)
            return convolve(slope, kernel_weights(kernel, kernel_side(size, min(images.shape[2:])))), state

        return smoothed

    return wrap
