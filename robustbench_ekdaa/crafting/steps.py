"""Steps: how the images move along a direction."""

from __future__ import annotations

from torch import Tensor

from .moment import Moment, State, Step


def steepest() -> Step:
    """Take the step of the threat model along which the direction rises most: sign, unit vector, or largest pixels."""

    def step(images: Tensor, direction: Tensor, at: Moment, state: State) -> tuple[Tensor, State]:
        return at.threat.ascend(images, direction, at.step_size), state

    return step
