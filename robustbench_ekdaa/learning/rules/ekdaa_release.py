"""EKDAA as the authors' released TensorFlow code computes it (github.com/tzee/EKDAA-Release), for comparison only."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ...networks import ACTIVATIONS, Network, Trace
from ..backward import transmit_and_correlate
from ..rule import LearningRule, Step, cross_entropy, softmax_error


class EkdaaRelease(LearningRule):
    """What the released code does where it departs from the paper's equations; the clean rule is `ekdaa`.

    With the symbols of `ekdaa` and phi_t the target activation::

        d_l = E_{l+1} applied backwards to e_{l+1}; of a convolution divided by max d where max d > 1
        t_l = phi_t(h_l - beta d_l), or of a pooled layer phi_t(upsample(pool(h_l) - beta d_l))
        e_l = phi_t(h_l) - t_l
        dW_l = e_l correlated with z_{l-1} (batch sum); of a convolution divided by max dW where above 1, then by
               C_in C_out;   dE_l = gamma dW_l, height and width swapped

    Departures from the paper's equations:

    - Convolutions, and the first linear layer, read pre-activations, so the convolutional layers together are linear
      except for pooling. Here the network is built so, not the rule: the card `ekdaa_release` has convolutions without
      activation. Their targets still use phi_t, and the dW of a convolution above an unpooled one is computed with
      phi_t of its input.
    - Error kernels start at W with height and width swapped (at W itself in linear layers), which is nearly weight
      transport.
    - Pooling carries the target, upsampled bilinearly, not the error: error maps do not vanish with the output error.
    - Both divisions are by the signed maximum over the whole batch, so the batch's images depend on each other.
    - Updates are sums over the batch, not means.

    Departures of this rule from the released code: biases get the sum of e_l (the release gives every image and place
    its own; its example has none); maps of odd size are pooled without padding.

    Args:
        beta: how far targets are moved. At 0.9, the release's value, the error maps of pooled layers come mostly from
            the blur of upsampling and hardly from the output error: held-out accuracy ends below that of random
            convolutions with batches of 64 and a little above it with batches of 256. 10 gives better results with
            both (docs/learning-rules.md).
        gamma: size of the error kernels' updates relative to the weights'.
        target_activation: phi_t; the release's example has tanh.

    """

    scales: ClassVar[tuple[str, ...]] = ("gamma",)

    exemptions: ClassVar[dict[str, str]] = {
        "zero error": "targets of pooled layers are upsampled, so their error maps do not vanish with the output error",
    }

    def __init__(
        self,
        *,
        beta: Annotated[float, Field(gt=0)] = 10.0,
        gamma: Annotated[float, Field(ge=0)] = 0.1,
        target_activation: Literal["tanh", "sigmoid", "relu", "leaky_relu", "elu", "softplus", "signum"] = "tanh",
    ) -> None:
        self.beta, self.gamma = beta, gamma
        self.phi_t = ACTIVATIONS[target_activation].forward

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Start E_2 ... E_L at the weights, height and width swapped."""
        starts = (_swap(block.layer.weight.detach()) for block in network.block_list[1:])
        self.E = [nn.Parameter(start.new_empty(start.shape).copy_(start)) for start in starts]

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights, biases and error kernels."""
        logits, traces = self.network.trace(images)
        error = softmax_error(logits, labels)  # e_L  (N, K)
        for index in range(len(traces) - 1, 0, -1):
            kernel = self.E[index - 1]  # E_l
            d, gradient = self._correct(index, traces, error, kernel)
            kernel.grad = self.gamma * _swap(gradient)  # dE_l
            assert d is not None
            error = self._error_map(index - 1, d, traces[index - 1])
        self._correct(0, traces, error, None)
        return Step(cross_entropy(logits, labels), logits)

    def _correct(
        self, index: int, traces: list[Trace], error: Tensor, kernel: Tensor | None
    ) -> tuple[Tensor | None, Tensor]:
        """Set dW_l and return it, after d_{l-1} where there is a kernel to send it through."""
        block, trace, count = self.network.block_list[index], traces[index], len(error)
        if block.is_convolution and index > 0 and self.network.block_list[index - 1].pooling is None:
            trace = replace(trace, inputs=self.phi_t(traces[index - 1].preactivation))  # z_{l-1}, not what it read
        carrier = block.layer.weight if kernel is None else kernel
        d = transmit_and_correlate(block, trace, error, carrier, transmit=kernel is not None)
        gradient = block.layer.weight.grad
        assert gradient is not None
        gradient.mul_(count)  # from batch mean to batch sum
        if block.layer.bias is not None and block.layer.bias.grad is not None:
            block.layer.bias.grad.mul_(count)
        if block.is_convolution:
            gradient.div_(gradient.max().clamp_min(1)).div_(gradient.shape[0] * gradient.shape[1])
            d = None if d is None else d / d.max().clamp_min(1)
        return d, gradient

    def _error_map(self, index: int, d: Tensor, trace: Trace) -> Tensor:
        """e_l = phi_t(h_l) - t_l."""
        h, pooling = trace.preactivation, self.network.block_list[index].pooling
        if pooling is None:
            moved = h - self.beta * d.reshape(h.shape)
        else:
            pooled, _ = pooling.forward(h)
            moved = pooled - self.beta * d.reshape(pooled.shape)
            moved = functional.interpolate(moved, size=h.shape[2:], mode="bilinear", align_corners=False)
        return self.phi_t(h) - self.phi_t(moved)

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return the error kernels by block index."""
        return {index + 1: kernel.detach() for index, kernel in enumerate(self.E)}


def _swap(kernel: Tensor) -> Tensor:
    """Swap height and width of a convolution's kernel; leave a matrix as it is."""
    return kernel.transpose(2, 3) if kernel.dim() == 4 else kernel
