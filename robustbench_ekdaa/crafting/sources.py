"""Where gradients come from: one surrogate, or several together.

A source is (surrogates, criterion, transform) -> gradient; ``transform`` is what the card does to the input first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from .criteria import Criterion
from .moment import Gradient, Loss, Moment, State
from .surrogates import Surrogate

Source = Callable[[Sequence[Surrogate], Criterion, Callable[[Gradient], Gradient]], Gradient]


def gradient_of(loss: Loss) -> Gradient:
    """Differentiate a per-image loss by the images; summing over images keeps each one's gradient its own."""

    def gradient(images: Tensor, at: Moment, state: State) -> tuple[Tensor, State]:
        with torch.enable_grad():
            variable = images.detach().requires_grad_()
            total = loss(variable, at).sum()
            (slope,) = torch.autograd.grad(total, variable)
        return slope, state

    return gradient


def single() -> Source:
    """The gradient of one surrogate's loss."""

    def source(
        surrogates: Sequence[Surrogate], criterion: Criterion, transform: Callable[[Gradient], Gradient]
    ) -> Gradient:
        if len(surrogates) != 1:
            raise UsageError(
                f"the source 'single' takes one surrogate (got {len(surrogates)}); "
                'for several, give the card [source] component = "ensemble_logits" or another ensemble'
            )
        return transform(gradient_of(lambda images, at: criterion(surrogates[0](images), at.labels)))

    return source
