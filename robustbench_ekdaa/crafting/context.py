"""The kinds of function that attacks are made of, and the context that such a function is called in.

    loss       (images, context) -> per-image loss (N,)
    transform  (images, context) -> changed copies of the images, one after the other
    gradient   (images, context, state) -> d loss / d images, state
    update     (gradient, context, state) -> direction, state
    step       (images, direction, context, state) -> images, state

All images, gradients and directions are (N, C, H, W); a state is what the components remember from step to step, each
under its own name, and is never changed in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..randomness import ImageDraws, keyed_generator, random_integers
from .threat import Threat

State = Mapping[str, Any]
Loss = Callable[[Tensor, "Context"], Tensor]
Transform = Callable[[Tensor, "Context"], Iterable[Tensor]]
Gradient = Callable[[Tensor, "Context", State], tuple[Tensor, State]]
Wrapper = Callable[[Gradient], Gradient]
Update = Callable[[Tensor, "Context", State], tuple[Tensor, State]]
Stepper = Callable[[Tensor, Tensor, "Context", State], tuple[Tensor, State]]
Start = Callable[[Tensor, "Context"], Tensor]


@dataclass(frozen=True)
class Task:
    """What stays the same over all epsilons and steps of an attack on one batch.

    Attributes:
        images: the clean images.
        labels: their true classes, int64 (N,).
        goal: the classes the loss is about, int64 (N,): the true ones, or the targets of a targeted attack.
        pool: images and classes of the data set, for attacks that mix other images in.
        draws: the images' random numbers.
        threat: the threat model.
    """

    images: Tensor
    labels: Tensor
    goal: Tensor
    pool: tuple[Tensor, Tensor]
    draws: ImageDraws
    threat: Threat


@dataclass
class Budget:
    """How far one run may go, and whether a component has read that.

    A gradient that was computed without reading it is the same at every epsilon, so that a sweep over epsilons computes
    it once.

    Attributes:
        epsilon: how large a perturbation may be, in pixels of [0, 1].
        step_size: the length of a step, in pixels of [0, 1].
        asked: whether `Context.epsilon` or `Context.step_size` was read.
    """

    epsilon: float
    step_size: float
    asked: bool = False


@dataclass(frozen=True)
class Context:
    """One step of one run of an attack on one batch.

    Attributes:
        task: the batch and what is wanted of it.
        budget: how far the run may go.
        step: which step this is, from 0.
        path: which component is asking: a prefix of the names of its random numbers, such as "input/scale 0/".
    """

    task: Task
    budget: Budget
    step: int = 0
    path: str = ""  # the empty prefix, which is not an absent one

    @property
    def goal(self) -> Tensor:
        """The classes the loss is about, int64 (N,)."""
        return self.task.goal

    @property
    def threat(self) -> Threat:
        """The threat model."""
        return self.task.threat

    @property
    def epsilon(self) -> float:
        """How large a perturbation may be, in pixels of [0, 1]."""
        self.budget.asked = True
        return self.budget.epsilon

    @property
    def step_size(self) -> float:
        """The length of a step, in pixels of [0, 1]."""
        self.budget.asked = True
        return self.budget.step_size

    def per_pixel(self, length: float) -> float:
        """How much each pixel changes when a perturbation of this norm is spread evenly over all of them.

        Args:
            length: the perturbation's norm in the threat model, in pixels of [0, 1].
        """
        return length / self.threat.of_ones(self.task.images[0].numel())

    def at_step(self, step: int) -> Context:
        """Return the context of another step.

        Args:
            step: its number, from 0.
        """
        return dataclasses.replace(self, step=step)

    def within(self, part: str) -> Context:
        """Return this context for a part of a component, whose random numbers are independent of all others.

        Args:
            part: a name of the part, which no other part of the component has.
        """
        return dataclasses.replace(self, path=f"{self.path}{part}/")

    def uniform(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Uniform numbers in [0, 1), float32 (N, *shape), of which each image has its own.

        Args:
            purpose: what they are for; each purpose has numbers of its own at every step.
            shape: the shape for one image.
        """
        task = self.task
        return task.draws.uniform(self.path + purpose, shape, step=self.step, like=task.images)

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, float32 (N, *shape), of which each image has its own.

        Args:
            purpose: what they are for; each purpose has numbers of its own at every step.
            shape: the shape for one image.
        """
        task = self.task
        return task.draws.normal(self.path + purpose, shape, step=self.step, like=task.images)

    def choices(self, purpose: str, count: int, among: int) -> list[int]:
        """Choose whole numbers at random, the same for all images of the attack.

        Args:
            purpose: what they are for; each purpose has numbers of its own at every step.
            count: how many numbers.
            among: they lie between 0 and ``among`` - 1.
        """
        draws = self.task.draws
        return random_integers(among, count, keyed_generator(draws.seed, self.path + purpose, draws.attack, self.step))
