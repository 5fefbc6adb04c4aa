"""Updates: from the gradients so far to the direction of the next step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ..context import Context, State, Update
from ..effect import effective
from ..threat import mean_size_one


def plain() -> Update:
    """Follow the gradient itself."""

    def update(gradient: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
        return gradient, state

    return update


@effective(keeps="momentum", steps=2)
def momentum(*, decay: Annotated[float, Field(gt=0)] = 1.0) -> Update:
    """Accumulate gradients of equal l1 norm: m = decay m + g / |g|_1 (Dong et al., CVPR 2018, arXiv:1710.06081, eq. 6).

    The gradient is divided by the mean, not the sum, of its absolute values, as the authors' code does: the direction
    is the same, and the momentum has the size of a sign, which Nesterov's look-ahead needs.

    Args:
        decay: the weight of the past.
    """

    def update(gradient: Tensor, context: Context, state: State) -> tuple[Tensor, State]:
        scaled = mean_size_one(gradient)
        past = state.get("momentum")
        gathered = scaled if past is None else scaled.add(past, alpha=decay)
        return gathered, {**state, "momentum": gathered}

    return update
