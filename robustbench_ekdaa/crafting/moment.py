"""The kinds of function attacks are made of, and what such a function may ask about the moment it is called in.

    loss      (images, moment) -> per-image loss (N,)
    gradient  (images, moment, state) -> d loss / d images, state
    update    (gradient, moment, state) -> direction, state
    step      (images, direction, moment, state) -> images, state

All images, gradients and directions are (N, C, H, W); a state is what the components remember from step to step, each
under its own name, and is never changed in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..randomness import ImageDraws
from .threat import Threat

State = Mapping[str, Any]
Loss = Callable[[Tensor, "Moment"], Tensor]
Gradient = Callable[[Tensor, "Moment", State], tuple[Tensor, State]]
Update = Callable[[Tensor, "Moment", State], tuple[Tensor, State]]
Step = Callable[[Tensor, Tensor, "Moment", State], tuple[Tensor, State]]
Start = Callable[[Tensor, "Moment"], Tensor]


@dataclass
class Reach:
    """How far one run may go; it notes whether anybody asked.

    A gradient that was computed without asking is the same at every epsilon, so that a sweep over epsilons computes
    it once.
    """

    epsilon: float
    step_size: float
    asked: bool = False


@dataclass(frozen=True)
class Moment:
    """One step of one run of an attack on one batch.

    Attributes:
        labels: int64 (N,): the classes the loss is about: the true ones, or the targets of a targeted attack.
        draws: the images' random numbers.
        threat: the threat model.
        steps: how many steps the run takes.
        step: which one this is, from 0.
        path: which component is asking, for its random numbers.
    """

    labels: Tensor
    draws: ImageDraws
    threat: Threat
    steps: int
    reach: Reach
    step: int = 0
    path: str = field(default="")

    @property
    def epsilon(self) -> float:
        """The radius of the ball, in pixels of [0, 1]."""
        self.reach.asked = True
        return self.reach.epsilon

    @property
    def step_size(self) -> float:
        """The length of a step, in pixels of [0, 1]."""
        self.reach.asked = True
        return self.reach.step_size

    def at_step(self, step: int) -> Moment:
        """Return the moment of another step."""
        return dataclasses.replace(self, step=step)

    def within(self, part: str) -> Moment:
        """Return this moment for a part of a component: what it draws there is independent of all other draws."""
        return dataclasses.replace(self, path=f"{self.path}{part}/")

    def uniform(self, purpose: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), shape (N, *shape), with the device and type of ``like``."""
        return self.draws.uniform(self.path + purpose, shape, step=self.step, like=like)

    def normal(self, purpose: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal numbers, shape (N, *shape), with the device and type of ``like``."""
        return self.draws.normal(self.path + purpose, shape, step=self.step, like=like)
