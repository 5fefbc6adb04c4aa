"""Where gradients come from: one surrogate, or several together.

A source is (surrogates, criterion, transform) -> gradient; ``transform`` is what the card does to the input first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ...errors import UsageError
from ..context import Context, Gradient, Loss, State, Wrapper
from ..surrogates import Surrogate, all_logits, failure, mean_logits, without_gradient
from ..threat import mean_size_one
from .losses import Criterion

Source = Callable[[Sequence[Surrogate], Criterion, Wrapper], Gradient]


def gradient_of(loss: Loss, surrogates: Sequence[Surrogate] = ()) -> Gradient:
    """Return the function that differentiates a per-image loss with respect to the images.

    The losses are summed over the images, which leaves each image's gradient independent of the others.

    Args:
        loss: (images, context) -> per-image loss (N,).
        surrogates: those that the loss uses; errors name them.

    """

    def gradient(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
        with torch.enable_grad():
            variable = images.detach().requires_grad_()
            total = loss(variable, context).sum()
            try:
                (slope,) = torch.autograd.grad(total, variable, allow_unused=True)
            except RuntimeError as error:
                raise failure(surrogates, "its gradient cannot be computed", error) from error
        if slope is None:
            raise without_gradient(surrogates)
        return slope, state

    return gradient


def loss_of(surrogate: Surrogate, criterion: Criterion) -> Loss:
    """The loss of one surrogate."""
    return lambda images, context: criterion(surrogate(images), context.goal)


def single() -> Source:
    """The gradient of one surrogate's loss."""

    def source(surrogates: Sequence[Surrogate], criterion: Criterion, transform: Wrapper) -> Gradient:
        if len(surrogates) != 1:
            raise UsageError(
                f"the source 'single' takes one surrogate (got {len(surrogates)}); "
                'for several, give the card [source] component = "ensemble_logits" or another ensemble'
            )
        return transform(gradient_of(loss_of(surrogates[0], criterion), surrogates))

    return source


def ensemble_logits() -> Source:
    """The loss of the mean of all surrogates' logits (Dong et al., CVPR 2018, arXiv:1710.06081, equation 10)."""

    def source(surrogates: Sequence[Surrogate], criterion: Criterion, transform: Wrapper) -> Gradient:
        def loss(images: Tensor, context: Context) -> Tensor:
            return criterion(mean_logits(surrogates, images), context.goal)

        return transform(gradient_of(loss, surrogates))

    return source


def ensemble_probabilities() -> Source:
    """The loss of the mean of all surrogates' softmax outputs (Liu et al., ICLR 2017, arXiv:1611.02770, equation 4).

    The criterion is given the logarithm of that mean: with cross-entropy it becomes -log of the mean probability.
    """

    def source(surrogates: Sequence[Surrogate], criterion: Criterion, transform: Wrapper) -> Gradient:
        def loss(images: Tensor, context: Context) -> Tensor:
            return criterion(all_logits(surrogates, images).log_softmax(2).logsumexp(0), context.goal)

        return transform(gradient_of(loss, surrogates))

    return source


def ensemble_losses() -> Source:
    """The mean of all surrogates' losses (compared in Dong et al., CVPR 2018, arXiv:1710.06081, section 3.4)."""

    def source(surrogates: Sequence[Surrogate], criterion: Criterion, transform: Wrapper) -> Gradient:
        gradients = [gradient_of(loss_of(surrogate, criterion), [surrogate]) for surrogate in surrogates]

        def mean(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            total = torch.zeros_like(images)
            for gradient in gradients:
                total += gradient(images, context, state)[0]
            return total / len(gradients), state

        return transform(mean)

    return source


def variance_reduced(
    *, rounds: Annotated[int, Field(ge=1, le=1_000)] = 4, decay: Annotated[float, Field(ge=0)] = 1.0
) -> Source:
    """The stochastic variance reduced ensemble (SVRE; Xiong et al., CVPR 2022, arXiv:2111.10752, algorithm 2).

    From x, an inner attack takes rounds x surrogates steps. Each asks one surrogate k, drawn at random, for
    g_k(x') - (g_k(x) - g(x)), where g is the gradient of the mean logits, and follows the momentum of these; that
    momentum is the gradient handed on. g_k(x) is computed once per surrogate, and where x' = x the difference is g(x).

    Args:
        rounds: inner steps per surrogate; the authors' 16 for four surrogates are 4 rounds.
        decay: of the inner momentum.
    """

    def source(surrogates: Sequence[Surrogate], criterion: Criterion, transform: Wrapper) -> Gradient:
        together = ensemble_logits()(surrogates, criterion, transform)
        each = [transform(gradient_of(loss_of(surrogate, criterion), [surrogate])) for surrogate in surrogates]

        def reduced(images: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
            overall = together(images, context.within("all"), {})[0]
            here: dict[int, Tensor] = {}
            inner, gathered = images, mean_size_one(overall)
            project = context.threat.ball(context.task.images, context.epsilon)
            for number, k in enumerate(context.choices("surrogate", rounds * len(each), len(each))[1:]):
                inner = project(context.threat.ascend(inner, gathered, context.step_size))
                if k not in here:
                    here[k] = each[k](images, context.within(f"here {k}"), {})[0]
                there = each[k](inner, context.within(f"inner {number}"), {})[0]
                gathered = decay * gathered + mean_size_one(there - (here[k] - overall))
            return gathered, state

        return reduced

    return source
