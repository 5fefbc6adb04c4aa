"""Direct feedback alignment (Nokland, NeurIPS 2016, arXiv:1609.01596)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks import Network
from .feedback import (
    inputs_alone,
    lean_trace,
    random_projections,
    refuse_flat_activations,
    through_activation,
    transmit,
)
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
        """Where block l's output becomes the logits by a linear map, and B_l is that map, the rule is backprop.

        With one hidden block B_1 = W_2. With more, phi becomes linear as the weights between vanish, if it has no kink
        at 0 and no pool above block 1 picks different maxima for different images.
        """
        network = self.network
        between = network.block_list[1:-1]
        for block in between:
            picks = block.pooling is not None and block.pooling.kind == "max"
            if picks or block.activation_name in ("relu", "leaky_relu"):
                return None
            block.layer.weight.mul_(1e-6)
            if block.layer.bias is not None:
                block.layer.bias.zero_()
        # Backprop's sweep on blank images, the k-th of which is told e = onehot(k): what arrives is B_l's k-th row.
        classes = network.block_list[-1].layer.weight.shape[0]
        logits, traces = network.trace(network.mean.expand(classes, *network.image_shape))
        delta = torch.eye(classes, dtype=logits.dtype, device=logits.device)
        for index in range(len(self.feedback), 0, -1):
            arrived = transmit(network.block_list[index], traces[index], delta)
            self.feedback[index - 1].copy_(arrived.flatten(1))
            delta = through_activation(network.block_list[index - 1], arrived, traces[index - 1], traces[index].inputs)
        return Agreement(deviation=1e-5 if between else 1e-12)

    def state_dict(self) -> dict[str, Tensor]:
        """Return B."""
        return dict(self.feedback.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take B back."""
        self.feedback.load_state_dict(state)
