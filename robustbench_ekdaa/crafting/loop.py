"""The loop that all gradient attacks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..errors import WorkFailed
from .crafted import Crafted
from .moment import Gradient, Moment, Reach, Scene, State
from .recipe import Recipe
from .surrogates import Surrogate, named
from .threat import largest


def follow(
    recipe: Recipe, surrogates: Sequence[Surrogate], scene: Scene, epsilons: Sequence[float]
) -> Iterator[Crafted]:
    """Run one attack at each epsilon; the first gradient is shared where it is the same."""
    gradient = FirstStepOnce(recipe.gradient(surrogates)) if recipe.steps else None
    for epsilon in epsilons:
        images, steepest = run(recipe, gradient, Moment(scene, Reach(epsilon, recipe.step_for(epsilon))))
        refuse_nan(steepest, surrogates)
        yield Crafted(epsilon, images, steepest == 0)


def run(recipe: Recipe, gradient: Gradient | None, moment: Moment) -> tuple[Tensor, Tensor]:
    """Run one attack at one epsilon: the images, and per image the largest slope that any pixel had at any step.

    An attack of no steps asked for no slope; its largest counts as infinite.
    """
    clean, epsilon = moment.scene.images, moment.reach.epsilon
    project = recipe.threat.ball(clean, epsilon)
    steepest: Tensor | None = None
    adversarial = clean
    if recipe.start is not None:
        adversarial = project(recipe.start(clean, moment.within("start")))
    state: State = {}
    for step in range(recipe.steps):
        at = moment.at_step(step)
        assert gradient is not None
        slope, state = gradient(adversarial, at, state)
        steepest = largest(slope) if steepest is None else steepest.maximum(largest(slope))
        direction, state = recipe.update(slope, at, state)
        adversarial, state = recipe.step(adversarial, direction, at, state)
        adversarial = project(adversarial)
    return adversarial, clean.new_full((len(clean),), torch.inf) if steepest is None else steepest


def refuse_nan(steepest: Tensor, surrogates: Sequence[Surrogate]) -> None:
    """Raise WorkFailed if a gradient was NaN: its sign would be 0, and the image look robust."""
    if not steepest.isnan().any():
        return
    for surrogate in surrogates:
        surrogate.verify()  # logits that are NaN say more about the reason
    raise WorkFailed(
        f"{named(surrogates)}: some of its gradients are NaN although its logits "
        "are finite. Look for an operation without a slope, such as the square root of 0."
    )


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
