"""Direct random target projection (Frenkel, Lefebvre and Bol; Frontiers in Neuroscience 2021, arXiv:1909.01311)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..networks import Network
from .feedback import inputs_alone, lean_step, random_projections, refuse_flat_activations, through_activation
from .layers import transmit_and_correlate
from .rule import Agreement, LearningRule, Step, cross_entropy, softmax_error


class DirectRandomTargetProjection(LearningRule):
    """Hidden layers learn from the label alone, projected on them at random, while the forward pass is still running.

    With h the pre-activation, z = phi(h) and B_l a fixed random matrix from the classes to block l's output::

        delta_l = (B_l onehot(y), then back through pooling) phi'(h_l)
        delta_L = softmax(h_L) - onehot(y)
        dW_l = delta_l correlated with z_{l-1} (batch mean)

    The label stands in for the output error, whose signs it shares up to a shift.

    Limits: hidden layers never hear that the answer was right, so they are pushed on until phi saturates: weight decay,
    a small learning rate or a bounded phi must stop them.
    """

    exemptions: ClassVar[dict[str, str]] = {
        "zero error": "hidden layers follow the label itself, not the output error, and learn on when it is zero",
    }

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Draw B_l, shape (K, size of block l's output), for every hidden block."""
        refuse_flat_activations(network)
        super().bind(network, generator)
        self.feedback = random_projections(network, generator)

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases."""
        z = self.network.normalise(images)
        *hidden, readout = self.network.block_list
        for block, feedback in zip(hidden, self.feedback, strict=True):
            z, trace = lean_step(block, z)
            # B_l onehot(y) is B_l's row of the label.
            delta = through_activation(block, feedback[labels], trace, z)
            trace = inputs_alone(trace)
            transmit_and_correlate(block, trace, delta, block.layer.weight, transmit=False)
        logits, trace = readout.trace(z)
        error = softmax_error(logits, labels)  # (N, K)
        transmit_and_correlate(readout, trace, error, readout.layer.weight, transmit=False)
        return Step(cross_entropy(logits, labels), logits)

    @torch.no_grad()
    def approach_backprop(self) -> Agreement | None:
        """With one hidden block, a vanishing readout without class means, and B_1 = -W_2, the rule tends to backprop.

        The probabilities are then 1/K, and W_2^T (1/K - onehot(y)) = -W_2^T onehot(y).
        """
        readout = self.network.block_list[-1].layer
        if len(self.feedback) > 1:
            return None
        readout.weight.sub_(readout.weight.mean(0)).mul_(1e-7)
        if readout.bias is not None:
            readout.bias.zero_()
        for feedback in self.feedback:
            feedback.copy_(-readout.weight)
        return Agreement(deviation=1e-5)

    def state_dict(self) -> dict[str, Tensor]:
        """Return B."""
        return dict(self.feedback.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take B back."""
        self.feedback.load_state_dict(state)
