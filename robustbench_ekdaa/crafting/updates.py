"""Updates: from the gradients so far to the direction of the next step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from .moment import Moment, State, Update
from .threat import FLOOR


def plain() -> Update:
    """Follow the gradient itself."""

    def update(gradient: Tensor, at: Moment, state: State) -> tuple[Tensor, State]:
        return gradient, state

    return update


def mean_size_one(gradient: Tensor) -> Tensor:
    """Scale each gradient so that its absolute values average to 1; exactly zero ones stay zero."""
    return gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(FLOOR)


def momentum(*, decay: Annotated[float, Field(ge=0)] = 1.0) -> Update:
    """Accumulate gradients of equal l1 norm: m = decay m + g / |g|_1 (Dong et al., CVPR 2018, arXiv:1710.06081, eq. 6).

    The gradient is divided by the mean, not the sum, of its absolute values, as the authors' code does: the direction
    is the same, and the momentum has the size of a sign, which Nesterov's look-ahead needs.

    Args:
        decay: the weight of the past; 0 forgets it.
    """

    def update(gradient: Tensor, at: Moment, state: State) -> tuple[Tensor, State]:
        scaled = mean_size_one(gradient)
        past = state.get("momentum")
        gathered = scaled if past is None else scaled.add(past, alpha=decay)
        return gathered, {**state, "momentum": gathered}

    return update
