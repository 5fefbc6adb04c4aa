"""Feedback alignment (Lillicrap, Cownden, Tweed and Akerman; Nature Communications 7, 2016, arXiv:1411.0247)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks import Network
from ..backward import BlockPass
from ..feedback import random_like
from ..rule import HiddenErrorRule


class FeedbackAlignment(HiddenErrorRule):
    """Errors travel down layer by layer through fixed random feedback, with which the weights align.

    With h the pre-activation, z = phi(h), W the weight and B fixed random feedback in W's shape::

        delta_L = softmax(h_L) - onehot(y)
        delta_l = (B_{l+1} applied backwards to delta_{l+1}, then back through pooling) phi'(h_l)
        dW_l = delta_l correlated with z_{l-1} (batch mean)

    Limits: is worse than backprop on convolutions, which have few weights and can hardly align (Bartunov et al. 2018,
    arXiv:1807.04587).
    """

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Draw B_2 ... B_L as the weights were drawn."""
        self.B = [random_like(block.layer.weight, generator) for block in network.block_list[1:]]

    def signal(self, l: int, error: Tensor, labels: Tensor, above: BlockPass, delta: Tensor) -> Tensor:
        """B_{l+1} applied backwards to delta_{l+1}."""
        return above.transmit(delta, self.B[l])

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return B by block index."""
        return {index: feedback.detach() for index, feedback in enumerate(self.B, 1)}
