"""The loop that all gradient attacks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .crafted import Crafted
from .moment import Gradient, Moment, Reach, Scene, State
from .recipe import Recipe
from .surrogates import Surrogate
from .threat import largest


def follow(
    recipe: Recipe, surrogates: Sequence[Surrogate], scene: Scene, epsilons: Sequence[float]
) -> Iterator[Crafted]:
    """Run one attack at each epsilon; the first gradient is shared where it is the same."""
    gradient = FirstStepOnce(recipe.gradient(surrogates)) if recipe.steps else None
    for epsilon in epsilons:
        yield run(recipe, gradient, Moment(scene, Reach(epsilon, recipe.step_for(epsilon))))


def run(recipe: Recipe, gradient: Gradient | None, moment: Moment) -> Crafted:
    """Run one attack at one epsilon."""
    clean, epsilon, threat = moment.scene.images, moment.reach.epsilon, recipe.threat
    adversarial = clean
    if recipe.start is not None:
        adversarial = threat.project(recipe.start(clean, moment.within("start")), clean, epsilon)
    flat = torch.full((len(clean),), recipe.steps > 0, device=clean.device)
    state: State = {}
    for step in range(recipe.steps):
        at = moment.at_step(step)
        assert gradient is not None
        slope, state = gradient(adversarial, at, state)
        flat &= largest(slope) == 0
        direction, state = recipe.update(slope, at, state)
        adversarial, state = recipe.step(adversarial, direction, at, state)
        adversarial = threat.project(adversarial, clean, epsilon)
    return Crafted(epsilon, adversarial, flat)


class FirstStepOnce:
    """Computes the gradient at the clean images once for all epsilons, unless a component asked how far it may go."""

    def __init__(self, gradient: Gradient) -> None:
        self.gradient = gradient
        self.answer: tuple[Tensor, State] | None = None

    def __call__(self, images: Tensor, at: Moment, state: State) -> tuple[Tensor, State]:
        """Return the gradient at ``images``, kept from an earlier epsilon where that is the same thing."""
        if at.step > 0 or images is not at.scene.images:
            return self.gradient(images, at, state)
        if self.answer is None:
            at.reach.asked = False
            answer = self.gradient(images, at, state)
            if at.reach.asked:
                return answer
            self.answer = answer
        return self.answer
