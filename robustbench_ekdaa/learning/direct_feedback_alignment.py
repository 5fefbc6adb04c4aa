"""Direct feedback alignment (Nokland, NeurIPS 2016, arXiv:1609.01596)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks import Network
from .feedback import inputs_alone, lean_trace, random_projections, refuse_flat_activations, through_activation
from .layers import transmit_and_correlate
from .rule import Agreement, LearningRule, Step, cross_entropy, softmax_error


class DirectFeedbackAlignment(LearningRule):
    """The output error reaches every hidden layer directly, through fixed random feedback.

    With h the pre-activation, z = phi(h) and B_l a fixed random matrix from the logits to block l's output::

        e = softmax(h_L) - onehot(y)
        delta_l = (B_l e, then back through pooling) phi'(h_l)
        dW_l = delta_l correlated with z_{l-1} (batch mean)

    B_l ends at the block's output, what the next layer reads. It is drawn Glorot uniform.

    Limits: convolutions learn little (Launay et al. 2019, arXiv:1906.04554); an adaptive optimiser matters much.
    """

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Draw B_l, shape (K, size of block l's output), for every hidden block."""
        refuse_flat_activations(network)
        super().bind(network, generator)
        self.feedback = random_projections(network, generator)

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases."""
        logits, traces = lean_trace(self.network, images)
        error = softmax_error(logits, labels)  # e  (N, K)
        *hidden, readout = self.network.block_list
        above = traces.pop()
        transmit_and_correlate(readout, above, error, readout.layer.weight, transmit=False)
        for block, feedback in zip(reversed(hidden), reversed(self.feedback), strict=True):
            trace = traces.pop()
            delta = through_activation(block, error @ feedback, trace, above.inputs)
            above = trace = inputs_alone(trace)
            transmit_and_correlate(block, trace, delta, block.layer.weight, transmit=False)
            del delta
        return Step(cross_entropy(logits, labels), logits)

    @torch.no_grad()
    def approach_backprop(self) -> Agreement | None:
        """With one hidden block and B_1 = W_2 the rule is backprop."""
        if len(self.feedback) > 1:
            return None
        for feedback in self.feedback:
            feedback.copy_(self.network.block_list[-1].layer.weight)
        return Agreement(deviation=1e-12)

    def state_dict(self) -> dict[str, Tensor]:
        """Return B."""
        return dict(self.feedback.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take B back."""
        self.feedback.load_state_dict(state)
