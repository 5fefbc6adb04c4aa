"""Activations with their derivatives, and what autograd uses where an activation has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

BackwardMode = Literal["zero", "straight_through", "tanh"]
_SIGNUM_BACKWARD: ContextVar[tuple[BackwardMode, float]] = ContextVar("signum_backward", default=("zero", 1.0))


@contextmanager
def signum_backward(mode: BackwardMode, k: float = 1.0) -> Iterator[None]:
    """Choose what autograd uses for the derivative of signum in forward passes made inside this context.

    The forward values are always the exact signs. The choice belongs to the code that differentiates: nothing of it is
    kept in a model.

    Args:
        mode: ``"zero"``, the true derivative almost everywhere, which is also used outside any context;
            ``"straight_through"``, 1 where abs(h) <= 1 and 0 elsewhere (Courbariaux et al. 2016, arXiv:1602.02830);
            ``"tanh"``, the derivative k (1 - tanh(k h)^2) of tanh(k h).
        k: steepness of the tanh.

    """
    token = _SIGNUM_BACKWARD.set((mode, k))
    try:
        yield
    finally:
        _SIGNUM_BACKWARD.reset(token)


class _Signum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        # Read here, not in backward: autograd may run backward in another thread, where the context is not set.
        ctx.mode, ctx.k = _SIGNUM_BACKWARD.get()
        ctx.save_for_backward(h)
        return torch.sign(h)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        (h,) = ctx.saved_tensors
        if ctx.mode == "straight_through":
            return torch.where(h.abs() <= 1, gradient, 0)
        if ctx.mode == "tanh":
            slope: Tensor = ctx.k * (1 - torch.tanh(ctx.k * h).square())
            return gradient * slope
        return torch.zeros_like(gradient)


def _signum(h: Tensor) -> Tensor:
    signs: Tensor = _Signum.apply(h)
    return signs


def _identity(h: Tensor) -> Tensor:
    return h


@dataclass(frozen=True)
class Activation:
    """An elementwise function phi.

    Attributes:
        forward: h -> z = phi(h).
        derivative: (h, z) -> phi'(h); it is given h and z so that it can use the cheaper one.
        differentiable: whether the derivative is of use; signum's is zero wherever it exists.

    """

    forward: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    differentiable: bool = True


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(torch.tanh, lambda h, z: 1 - z * z),
    "relu": Activation(torch.relu, lambda h, z: (z > 0).to(h.dtype)),
    "leaky_relu": Activation(
        lambda h: functional.leaky_relu(h, 0.01), lambda h, z: torch.where(h > 0, torch.ones_like(h), 0.01)
    ),
    "elu": Activation(functional.elu, lambda h, z: torch.where(h > 0, torch.ones_like(z), z + 1)),
    "sigmoid": Activation(torch.sigmoid, lambda h, z: z * (1 - z)),
    "softplus": Activation(functional.softplus, lambda h, z: torch.sigmoid(h)),
    "identity": Activation(_identity, lambda h, z: torch.ones_like(h)),
    "signum": Activation(_signum, lambda h, z: torch.zeros_like(h), differentiable=False),
}
