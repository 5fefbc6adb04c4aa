"""PEPITA: error-driven input modulation (Dellaferrera and Kreiman, ICML 2022, arXiv:2201.11665)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...errors import UsageError
from ...networks import Network
from ...randomness import uniform
from ..backward import correlate
from ..rule import LearningRule, Step, cross_entropy, softmax_error


class Pepita(LearningRule):
    """A second forward pass, on an input that the error has changed, takes the place of the backward pass.

    With x the normalised input, z = phi(h), F a fixed random matrix, and a bar over what belongs to the second pass::

        e = softmax(h_L) - onehot(y);   xbar = x + F e
        dW_1 = (z_1 - zbar_1) correlated with xbar;   dW_L = e correlated with zbar_{L-1} (batch means)

    Neither the derivative of phi nor a backward pass is needed. F is drawn uniformly from [-b, b] with
    b = scale sqrt(6 / size of x).

    Args:
        scale: size of F relative to a weight's; 0.05 in the paper.

    Limits: defined here for at most one hidden layer, fully connected; other networks are refused. The paper also has a
    convolutional variant; tried here, it was no better than random convolutions.
    """

    def __init__(self, *, scale: Annotated[float, Field(gt=0)] = 0.05) -> None:
        self.scale = scale

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Draw F^T, shape (K, size of x); raises UsageError for a network that is deeper or has convolutions."""
        *hidden, _ = network.layer_names
        if len(hidden) > 1 or any(block.is_convolution for block in network.block_list):
            raise UsageError(
                "PEPITA is defined for at most one hidden layer, fully connected, but the network has "
                f"{', '.join(hidden)}. Give it one linear block, as the card pepita has."
            )
        classes, pixels = network.block_list[-1].layer.weight.shape[0], math.prod(network.image_shape)
        bound = self.scale * math.sqrt(6.0 / pixels)
        numbers = (2 * uniform((classes, pixels), generator) - 1) * bound
        self.F = nn.Parameter(numbers.to(network.mean), requires_grad=False)

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases."""
        logits, traces = self.network.trace(images)
        e = softmax_error(logits, labels)  # (N, K)
        # F e changes the normalised input; the network normalises its input itself, so F e is converted to pixels.
        _, traces_bar = self.network.trace(images + self.network.deviation * (e @ self.F).reshape(images.shape))
        *hidden, readout = self.network.block_list
        for block, trace, trace_bar in zip(hidden, traces[:-1], traces_bar[:-1], strict=True):
            difference = trace.activation - trace_bar.activation  # z_1 - zbar_1
            correlate(block, trace_bar, difference)
        correlate(readout, traces_bar[-1], e)
        return Step(cross_entropy(logits, labels), logits)
