"""Backprop: the true gradient, by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks import Network
from ..feedback import refuse_flat_activations
from ..rule import LearningRule, Step, cross_entropy


class Backprop(LearningRule):
    """Rumelhart, Hinton and Williams (1986): delta_l = (W_{l+1}^T delta_{l+1}) phi'(h_l)."""

    needs_blocks = False

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Take the network; raises UsageError for an activation whose derivative is zero."""
        refuse_flat_activations(network)
        super().bind(network, generator)

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` with the gradient of the batch's mean cross-entropy."""
        self.network.zero_grad(set_to_none=True)
        logits = self.network(images)
        loss = cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return Step(loss.detach(), logits.detach())
