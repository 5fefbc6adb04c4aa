"""Feedback alignment (Lillicrap, Cownden, Tweed and Akerman; Nature Communications 7, 2016, arXiv:1411.0247)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..networks import Network
from .feedback import lean_trace, random_like, refuse_flat_activations, send_back
from .rule import Agreement, LearningRule, Step, cross_entropy, softmax_error


class FeedbackAlignment(LearningRule):
    """Errors travel down layer by layer through fixed random feedback; the weights come to agree with it.

    With h the pre-activation, z = phi(h), W the weight and B fixed random feedback in W's shape::

        delta_L = softmax(h_L) - onehot(y)
        delta_l = (B_{l+1} applied backwards to delta_{l+1}, then back through pooling) phi'(h_l)
        dW_l = delta_l correlated with z_{l-1} (batch mean)

    Limits: falls behind backprop on convolutions, whose few weights leave little room to align (Bartunov et al. 2018,
    arXiv:1807.04587).
    """

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Draw B_2 ... B_L as the weights were drawn."""
        refuse_flat_activations(network)
        super().bind(network, generator)
        self.feedback = nn.ParameterList(random_like(block.layer.weight, generator) for block in network.block_list[1:])

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases."""
        logits, traces = lean_trace(self.network, images)
        send_back(self.network, traces, softmax_error(logits, labels), list(self.feedback))
        return Step(cross_entropy(logits, labels), logits)

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return B by block index."""
        return {index + 1: feedback.detach() for index, feedback in enumerate(self.feedback)}

    @torch.no_grad()
    def approach_backprop(self) -> Agreement:
        """With B = W the rule is backprop."""
        for feedback, block in zip(self.feedback, self.network.block_list[1:], strict=True):
            feedback.copy_(block.layer.weight)
        return Agreement(deviation=1e-12)

    def state_dict(self) -> dict[str, Tensor]:
        """Return B."""
        return dict(self.feedback.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take B back."""
        self.feedback.load_state_dict(state)
