"""The contract of a learning rule: it fills `.grad` and never touches the forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks import Network


@dataclass(frozen=True)
class Agreement:
    """How nearly a rule's gradients agree with backprop's where theory says that they do.

    Attributes:
        deviation: the largest relative deviation of a parameter's gradient, in the l2 norm and in float64.
        up_to_scale: whether only directions agree, each parameter's gradient by itself.
        readout_alone: whether that is said of the readout alone, and the layers below get nothing at all.

    """

    deviation: float
    up_to_scale: bool = False
    readout_alone: bool = False


@dataclass(frozen=True)
class Step:
    """What a rule says about one batch: the mean cross-entropy (a scalar) and the logits (N, K), both detached."""

    loss: Tensor
    logits: Tensor


class LearningRule:
    """Base of all learning rules; a rule overrides `compute_gradients` and what else it needs.

    Feedback tensors (error kernels, random feedback) live here, never in the network, so that a trained model is a
    plain network whose autograd is the true gradient. Options are keyword arguments of the constructor; a card's
    values are checked against their annotations.
    """

    network: Network

    # Contract tests that do not hold for this rule, by name, with the reason that reports print: see `contract.py`.
    exemptions: ClassVar[dict[str, str]] = {}

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Take the network to train and create feedback tensors; `generator` draws all that is random in them."""
        self.network = network

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of the network's and the feedback parameters for one batch.

        Args:
            images: float32 in [0, 1], shape (N, C, H, W).
            labels: int64, shape (N,).

        """
        raise NotImplementedError

    def feedback_parameters(self) -> list[nn.Parameter]:
        """Return learned feedback tensors; the optimiser gets them as a group of their own."""
        return []

    @property
    def feedback_options(self) -> dict[str, float]:
        """Optimiser options of that group which differ from the network's, such as its weight decay."""
        return {}

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return, by block index, the feedback that stands in for the block's weight, in the weight's shape."""
        return {}

    def approach_backprop(self) -> Agreement | None:
        """Move the bound rule, its options and its network to where theory says that its gradients are backprop's.

        Used by the contract tests alone. Returns how near they must be, or None if there is no such place for this rule
        on this network.
        """
        return None

    def after_step(self) -> None:
        """Run after each optimiser step."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors that a resumed training needs."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take back what `state_dict` gave, after `bind`."""


def softmax_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return softmax(logits) - onehot(labels), shape (N, K): the gradient of each image's cross-entropy."""
    error = torch.softmax(logits, dim=1)
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    return error


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy over the batch, a scalar."""
    return functional.cross_entropy(logits, labels)
