"""Direct feedback alignment (Nokland, NeurIPS 2016, arXiv:1609.01596), as an example of a learning rule of your own."""

import torch
from torch.nn.functional import cross_entropy

from robustbench_ekdaa.learning.feedback import output_shapes, refuse_flat_activations
from robustbench_ekdaa.learning.layers import transmit_and_correlate
from robustbench_ekdaa.learning.rule import LearningRule, Step, softmax_error


class MyRule(LearningRule):
    """delta_l = (B_l e_L, back through pooling) phi'(h_l): fixed random B_l bring the output error to every block."""

    def __init__(self, *, scale: float = 0.1) -> None:
        self.scale = scale

    def bind(self, network, generator):
        refuse_flat_activations(network)  # phi' must not be zero everywhere
        super().bind(network, generator)
        *hidden, (classes,) = output_shapes(network)
        self.feedback = [self.scale * torch.randn(classes, shape.numel(), generator=generator) for shape in hidden]

    @torch.no_grad()
    def compute_gradients(self, images, labels):
        logits, traces = self.network.trace(images)
        error = softmax_error(logits, labels)  # e_L  (N, K)
        *hidden, readout = self.network.block_list
        transmit_and_correlate(readout, traces[-1], error, readout.layer.weight, transmit=False)
        for block, trace, feedback in zip(hidden, traces, self.feedback, strict=False):
            derivative = block.phi.derivative(trace.preactivation, trace.activation)
            delta = block.unpool(error @ feedback.to(error), trace) * derivative
            transmit_and_correlate(block, trace, delta, block.layer.weight, transmit=False)
        return Step(cross_entropy(logits, labels), logits)
