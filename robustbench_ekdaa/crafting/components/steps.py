"""Steps: how the images move along a direction."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ...errors import UsageError
from ..context import Context, State, Stepper
from ..effect import effective
from ..kernels import convolve


def steepest() -> Stepper:
    """Take the step of the threat model along which the direction rises most: sign, unit vector, or largest pixels."""

    def step(images: Tensor, direction: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
        return context.threat.ascend(images, direction, context.step_size), state

    return step


@effective(keeps="wanted")
def patch_wise(
    *,
    norm: str,
    path_length: float | None,
    amplification: Annotated[float, Field(gt=0)] = 10.0,
    size: Annotated[int, Field(ge=3, le=255)] = 3,
) -> Stepper:
    """Take large steps; hand what leaves the ball to the pixels around (PI; Gao et al., ECCV 2020, arXiv:2007.06765).

    a accumulates all that was wanted of a pixel; the part of a beyond epsilon, averaged over the pixel's neighbours
    by the kernel W_p, moves it by another step (equations 4 to 6).

    Args:
        norm: the card's; the method is for l-infinity only.
        path_length: of all steps of the card together, in epsilons; None where the card gives them in pixels.
        amplification: beta of the paper: steps are that many times larger.
        size: side of W_p, in pixels; odd.
    """
    if norm != "linf":
        raise UsageError(f"patch_wise is a step of the linf norm (got {norm})")
    if size % 2 == 0:
        raise UsageError(f"patch_wise: size must be odd (got {size})")
    if path_length is not None and amplification * path_length <= 1:
        raise UsageError(
            f"patch_wise: amplification {amplification:g} never leads out of the ball, so that nothing is handed on: "
            f"all steps together must be longer than epsilon (got {amplification * path_length:g} epsilons)"
        )
    around = torch.full((size, size), 1 / (size**2 - 1), dtype=torch.float32, device="cpu")
    around[size // 2, size // 2] = 0

    def step(images: Tensor, direction: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
        length = amplification * context.step_size
        move = length * direction.sign()
        wanted = state["wanted"] + move if "wanted" in state else move
        beyond = (wanted.abs() - context.epsilon).clamp_min(0) * wanted.sign()
        spread = length * convolve(beyond, around).sign()
        return images + move + spread, {**state, "wanted": wanted + spread}

    return step
