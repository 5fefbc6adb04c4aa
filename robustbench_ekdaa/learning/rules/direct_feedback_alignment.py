"""Direct feedback alignment (Nokland, NeurIPS 2016, arXiv:1609.01596)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks import Network
from ..backward import BlockPass
from ..feedback import random_projections
from ..rule import HiddenErrorRule


class DirectFeedbackAlignment(HiddenErrorRule):
    """The output error reaches every hidden layer directly, through fixed random feedback.

    With h the pre-activation, z = phi(h) and B_l a fixed random matrix from the logits to block l's output::

        e = softmax(h_L) - onehot(y)
        delta_l = (B_l e, then back through pooling) phi'(h_l)
        dW_l = delta_l correlated with z_{l-1} (batch mean)

    B_l maps to the block's output, which the next layer reads. It is drawn Glorot uniform.

    Limits: convolutions learn little (Launay et al. 2019, arXiv:1906.04554); results are much better with an adaptive
    optimiser.
    """

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Draw B_l, shape (K, size of block l's output), for every hidden block."""
        self.B = random_projections(network, generator)

    def signal(self, l: int, error: Tensor, labels: Tensor, above: BlockPass, delta: Tensor) -> Tensor:
        """B_l e, (N, size of block l's output)."""
        return error @ self.B[l]
