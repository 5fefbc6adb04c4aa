"""The kinds of function attacks are made of, and what such a function may ask about the moment it is called in.

    loss       (images, moment) -> per-image loss (N,)
    transform  (images, moment) -> changed copies of the images, one after the other
    gradient   (images, moment, state) -> d loss / d images, state
    update     (gradient, moment, state) -> direction, state
    step       (images, direction, moment, state) -> images, state

All images, gradients and directions are (N, C, H, W); a state is what the components remember from step to step, each
under its own name, and is never changed in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..randomness import ImageDraws, keyed_generator, whole_numbers
from .threat import Threat

State = Mapping[str, Any]
Loss = Callable[[Tensor, "Moment"], Tensor]
Transform = Callable[[Tensor, "Moment"], Iterable[Tensor]]
Gradient = Callable[[Tensor, "Moment", State], tuple[Tensor, State]]
Wrapper = Callable[[Gradient], Gradient]
Update = Callable[[Tensor, "Moment", State], tuple[Tensor, State]]
Step = Callable[[Tensor, Tensor, "Moment", State], tuple[Tensor, State]]
Start = Callable[[Tensor, "Moment"], Tensor]


@dataclass(frozen=True)
class Scene:
    """What stays the same over all epsilons and steps of an attack on one batch.

    Attributes:
        images: the clean images.
        truth: their classes, int64 (N,).
        labels: the classes the loss is about: the true ones, or the targets of a targeted attack.
        pool: images and classes of the data set, for attacks that mix other images in.
        draws: the images' random numbers.
        threat: the threat model.
    """

    images: Tensor
    truth: Tensor
    labels: Tensor
    pool: tuple[Tensor, Tensor]
    draws: ImageDraws
    threat: Threat


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
        scene: the batch.
        reach: how far the run may go.
        step: which step this is, from 0.
        path: which component is asking, for its random numbers.
    """

    scene: Scene
    reach: Reach
    step: int = 0
    path: str = ""

    @property
    def labels(self) -> Tensor:
        """The classes the loss is about, int64 (N,)."""
        return self.scene.labels

    @property
    def threat(self) -> Threat:
        """The threat model."""
        return self.scene.threat

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

    def per_pixel(self, length: float) -> float:
        """How much each pixel changes when a perturbation of this norm is spread evenly over all of them."""
        return length / self.threat.of_ones(self.scene.images[0].numel())

    def at_step(self, step: int) -> Moment:
        """Return the moment of another step."""
        return dataclasses.replace(self, step=step)

    def within(self, part: str) -> Moment:
        """Return this moment for a part of a component: what it draws there is independent of all other draws."""
        return dataclasses.replace(self, path=f"{self.path}{part}/")

    def uniform(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Uniform numbers in [0, 1), float32 (N, *shape)."""
        scene = self.scene
        return scene.draws.uniform(self.path + purpose, shape, step=self.step, like=scene.images)

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, float32 (N, *shape)."""
        scene = self.scene
        return scene.draws.normal(self.path + purpose, shape, step=self.step, like=scene.images)

    def choices(self, purpose: str, count: int, among: int) -> list[int]:
        """Choose ``count`` times among 0 to ``among`` - 1, the same for all images of the attack."""
        draws = self.scene.draws
        return whole_numbers(among, count, keyed_generator(draws.seed, self.path + purpose, draws.attack, self.step))
