"""The loop that all gradient attacks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..errors import WorkFailed
from .composition import Composition
from .context import Budget, Context, Gradient, State, Task
from .crafted import Crafted
from .surrogates import Surrogate, named
from .threat import largest


def follow(
    composition: Composition, surrogates: Sequence[Surrogate], task: Task, epsilons: Sequence[float]
) -> Iterator[Crafted]:
    """Run one attack at each epsilon; the first gradient is shared where it is the same."""
    gradient = FirstStepOnce(composition.gradient(surrogates)) if composition.steps else None
    for epsilon in epsilons:
        images, steepest = run(composition, gradient, Context(task, Budget(epsilon, composition.step_for(epsilon))))
        refuse_nan(steepest, surrogates)
        yield Crafted(epsilon, images, steepest == 0)


def run(composition: Composition, gradient: Gradient | None, context: Context) -> tuple[Tensor, Tensor]:
    """Run one attack at one epsilon: the images, and per image the largest slope that any pixel had at any step.

    An attack of no steps asked for no slope; its largest counts as infinite.
    """
    clean, epsilon = context.task.images, context.budget.epsilon
    project = composition.threat.ball(clean, epsilon)
    steepest: Tensor | None = None
    adversarial = clean
    if composition.start is not None:
        adversarial = project(composition.start(clean, context.within("start")))
    state: State = {}
    for step in range(composition.steps):
        context = context.at_step(step)
        assert gradient is not None
        slope, state = gradient(adversarial, context, state)
        steepest = largest(slope) if steepest is None else steepest.maximum(largest(slope))
        direction, state = composition.update(slope, context, state)
        adversarial, state = composition.step(adversarial, direction, context, state)
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

    def __call__(self, images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
        """Return the gradient at ``images``, kept from an earlier epsilon where that is the same thing."""
        if context.step > 0 or images is not context.task.images:
            return self.gradient(images, context, state)
        if self.answer is None:
            context.budget.asked = False
            answer = self.gradient(images, context, state)
            if context.budget.asked:
                return answer
            self.answer = answer
        return self.answer
