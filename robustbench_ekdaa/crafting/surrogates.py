"""Surrogates as an attack sees them: borrowed, checked, and given back as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError, WorkFailed
from ..networks import Block, Network
from ..networks.memory_format import with_channels_last

Precision = Literal["float32", "bfloat16"]


@contextmanager
def borrowed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put networks in evaluation mode with all parameters frozen; afterwards every flag is as it was."""
    training = [part for module in modules for part in module.modules() if part.training]
    trainable = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    try:
        for part in training:
            part.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for part in training:
            part.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)


def lacks_derivative(module: nn.Module) -> bool:
    """Whether a network has an activation whose derivative says nothing, such as signum."""
    return any(isinstance(part, Block) and not part.phi.differentiable for part in module.modules())


class Surrogate:
    """A network that answers with float32 logits (N, K), checked without waiting for the device.

    Args:
        module: the network.
        position: its place among the surrogates, for messages.
        largest_label: no label is larger than this.
        precision: the type its layers compute in.

    Attributes:
        differentiated: whether anybody has asked for a gradient so far.

    """

    def __init__(self, module: nn.Module, position: int, largest_label: int, precision: Precision = "float32") -> None:
        self.module = module
        self.name = f"surrogate {position} ({type(module).__name__})"
        self.largest_label = largest_label
        self.precision = precision
        self.differentiated = False
        self._sum: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits; raises UsageError when their shape cannot be right."""
        self.differentiated |= images.requires_grad
        if isinstance(self.module, Network):
            images = with_channels_last(images)
        if self.precision == "bfloat16":
            with torch.autocast(images.device.type, torch.bfloat16):
                logits: Tensor = self.module(images)
        else:
            logits = self.module(images)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(
                f"{self.name}: must answer {len(images)} images with logits of shape ({len(images)}, classes) "
                f"(got {got})"
            )
        if self.largest_label >= logits.shape[1]:
            raise UsageError(
                f"{self.name}: has {logits.shape[1]} classes, but there is a label {self.largest_label}. "
                "Labels must be smaller than the number of classes."
            )
        # One NaN or infinity makes all later sums NaN or infinite: the cheapest thing that cannot miss one.
        total = logits.detach().sum(dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        return logits.float()

    def verify(self) -> None:
        """Raise WorkFailed if any logit so far was NaN or infinite."""
        if self._sum is not None and not self._sum.isfinite():
            raise WorkFailed(
                f"{self.name}: some of its logits are NaN or infinite, so no gradient can be followed. "
                "Its training probably diverged: check its accuracy, train it again with a lower learning rate. "
                "If its answers to clean images are finite, its gradient is not."
            )


def all_logits(surrogates: Sequence[Surrogate], images: Tensor) -> Tensor:
    """What each of the S surrogates says of images, (S, N, K); raises UsageError unless they know as many classes."""
    answers = [surrogate(images) for surrogate in surrogates]
    for surrogate, answer in zip(surrogates, answers, strict=True):
        if answer.shape != answers[0].shape:
            raise UsageError(
                f"{surrogate.name}: has {answer.shape[1]} classes, but {surrogates[0].name} has "
                f"{answers[0].shape[1]}. Surrogates can only be attacked together if they tell the same classes apart."
            )
    return torch.stack(answers)


def mean_logits(surrogates: Sequence[Surrogate], images: Tensor) -> Tensor:
    """What the surrogates together say of images, (N, K)."""
    return all_logits(surrogates, images).mean(0)
