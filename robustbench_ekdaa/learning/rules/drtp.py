"""Direct random target projection (Frenkel, Lefebvre and Bol; Frontiers in Neuroscience 2021, arXiv:1909.01311)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ...networks import Network
from ..backward import BlockPass, correlate, keep_slopes
from ..feedback import random_projections
from ..rule import HiddenErrorRule, Step, cross_entropy, softmax_error


class DirectRandomTargetProjection(HiddenErrorRule):
    """Hidden layers learn from the label alone, projected on them at random, while the forward pass is still running.

    With h the pre-activation, z = phi(h) and B_l a fixed random matrix from the classes to block l's output::

        delta_l = (B_l onehot(y), then back through pooling) phi'(h_l)
        delta_L = softmax(h_L) - onehot(y)
        dW_l = delta_l correlated with z_{l-1} (batch mean)

    The label stands in for the output error, whose signs it shares up to a shift.

    Limits: hidden layers get the same signal when the prediction is right already, so their pre-activations grow until
    phi saturates; weight decay, a small learning rate or a bounded phi must stop this.
    """

    exemptions: ClassVar[dict[str, str]] = {
        "zero error": "hidden layers follow the label itself, not the output error, and learn on when it is zero",
    }

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Draw B_l, shape (K, size of block l's output), for every hidden block."""
        self.B = random_projections(network, generator)

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases during the forward pass."""
        z = self.network.normalise(images)
        *hidden, readout = self.network.block_list
        for block, feedback in zip(hidden, self.B, strict=True):
            z, trace = keep_slopes(block, z)
            here = BlockPass(block, trace, z)
            here.delta = self.hidden_error(here, feedback[labels])  # B_l onehot(y) is B_l's row of the label
            here.keep_inputs()
            here.correlate()
        logits, trace = readout.trace(z)
        correlate(readout, trace, softmax_error(logits, labels))
        return Step(cross_entropy(logits, labels), logits)
