"""Kolen and Pollack's rule (ICNN 1994), as Akrout et al. (NeurIPS 2019, arXiv:1904.05391) use it in deep networks."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks import Network
from ..rule import Step
from .feedback_alignment import FeedbackAlignment


class KolenPollack(FeedbackAlignment):
    """Feedback alignment whose feedback learns too: B gets W's own update and decays as W does.

    delta_l as in feedback alignment, and::

        dB_l = dW_l;   W <- (1 - lambda) W - eta dW,   B <- (1 - lambda) B - eta dB

    so that W - B shrinks by the factor (1 - lambda) at each step and B becomes W, though no weight is ever copied.
    lambda is the recipe's weight decay, which B shares; without any decay B does not align.

    Limits: the rule assumes that the synapses of W and those of B get exactly the same update.
    """

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Draw the starting values of B_2 ... B_L."""
        super().create_feedback(network, generator)
        for feedback in self.B:
            feedback.requires_grad_(True)

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights, biases and feedback."""
        step = super().compute_gradients(images, labels)
        for feedback, block in zip(self.B, self.network.block_list[1:], strict=True):
            assert block.layer.weight.grad is not None
            feedback.grad = block.layer.weight.grad.clone()  # dB_l = dW_l
        return step
