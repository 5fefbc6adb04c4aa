"""EKDAA: error-kernel driven activation alignment (Zee, Ororbia, Mali, Nwogu; TMLR 2023, arXiv:2206.01820)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..networks import ACTIVATIONS, Block, Network, Trace
from ..networks.build import glorot_
from ..networks.network import in_format_of
from .feedback import inputs_alone
from .layers import transmit_and_correlate
from .maxima import only_maxima_count, put_at_positions, trace_maxima
from .rule import Agreement, LearningRule, Step, cross_entropy, softmax_error


class Ekdaa(LearningRule):
    """Each layer moves its activations towards targets that learned error kernels send down; phi' is never used.

    With h the pre-activation, z = phi(h), W the weight and E the error kernel in W's shape::

        e_L = softmax(h_L) - onehot(y)
        d_l = E_{l+1} applied backwards to e_{l+1}, then back through pooling
        t_l = phi(h_l - beta d_l);   e_l = z_l - t_l
        dW_l = e_l correlated with z_{l-1} (batch mean);   dE_l = gamma dW_l

    Args:
        beta: how far targets are moved.
        gamma: size of the error kernels' updates relative to the weights'; drops out, unless it is 0, under an
            optimiser that ignores sizes (Adam, AdamW).
        error_kernels: how E starts; ``"random"`` draws it like a weight, ``"transpose"`` copies W (weight transport,
            which the rule exists to avoid; offered to measure what it is worth).
        feedback_decay: weight decay of E; default: the weights'. With gamma = 1 and the same decay on W and E, E aligns
            to W (Kolen and Pollack 1994; Akrout et al. 2019, arXiv:1904.05391).
        normalise_errors: divide an image's error map by its largest magnitude where that is above 1.
        target_activation: phi_t, a smooth stand-in in e_l = phi_t(h_l) - phi_t(h_l - beta d_l), for networks whose
            activation is flat almost everywhere (signum); default: the layer's own activation, as in the paper.

    Limits: errors shrink by beta at each layer on their way down, so an optimiser that ignores their size (AdamW) suits
    deep networks, and e_l = z_l - t_l, a difference of nearly equal numbers, loses digits: with a small beta the lowest
    layers of a deep network get rounding alone (in float64, six layers and beta = 1e-3).
    """

    def __init__(
        self,
        *,
        beta: Annotated[float, Field(gt=0)] = 0.9,
        gamma: Annotated[float, Field(ge=0)] = 0.1,
        error_kernels: Literal["random", "transpose"] = "random",
        feedback_decay: Annotated[float, Field(ge=0)] | None = None,
        normalise_errors: bool = False,
        target_activation: Literal["tanh", "sigmoid", "relu", "leaky_relu", "elu", "softplus"] | None = None,
    ) -> None:
        self.beta, self.gamma = beta, gamma
        self.error_kernels = error_kernels
        self.feedback_decay = feedback_decay
        self.normalise_errors = normalise_errors
        self.target_activation = target_activation
        self.kernels: list[nn.Parameter] = []

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Create E_2 ... E_L: the first block sends nothing further down."""
        super().bind(network, generator)
        self.kernels = []
        for block in network.block_list[1:]:
            kernel = block.layer.weight.detach().clone()
            self.kernels.append(
                nn.Parameter(kernel if self.error_kernels == "transpose" else glorot_(kernel, generator))
            )

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights, biases and error kernels."""
        for kernel in self.kernels:
            kernel.grad = None  # so that the last step's take no room during this one
        blocks = self.network.block_list
        logits, traces = trace_maxima(self.network, images)
        error = softmax_error(logits, labels)  # e_L  (N, K)
        for index in range(len(blocks) - 1, 0, -1):
            above, kernel = traces.pop(), self.kernels[index - 1]  # E_l
            sent, weight_gradient = transmit_and_correlate(blocks[index], above, error, kernel)
            kernel.grad = self.gamma * weight_gradient  # dE_l
            assert sent is not None
            del error
            error = self._error_map(blocks[index - 1], sent, traces[-1], above.inputs)
            traces[-1] = inputs_alone(traces[-1])
            del sent
        transmit_and_correlate(blocks[0], traces[0], error, blocks[0].layer.weight, transmit=False)
        return Step(cross_entropy(logits, labels), logits)

    def _error_map(self, block: Block, sent: Tensor, trace: Trace, output: Tensor) -> Tensor:
        """e_l = z_l - t_l with t_l = phi(h_l - beta d_l); `sent` and `output` are at the block's output, e_l at h_l."""
        positions = trace.pool_indices
        if positions is not None and only_maxima_count(block):
            # d_l is zero but at the maxima, and so is e_l: both are computed there and put in place afterwards.
            h = trace.preactivation
            d, z = (in_format_of(h, part.reshape(h.shape)) for part in (sent, output))
            return put_at_positions(self._difference(block, d, h, z), positions, trace.activation.shape)
        return self._difference(block, block.unpool(sent, trace), trace.preactivation, trace.activation)

    def _difference(self, block: Block, d: Tensor, h: Tensor, z: Tensor) -> Tensor:
        moved = torch.sub(h, d, alpha=self.beta)
        if self.target_activation is None:
            error = z - block.phi.forward(moved)
        else:
            phi_t = ACTIVATIONS[self.target_activation].forward
            error = phi_t(h) - phi_t(moved)
        if self.normalise_errors:
            largest = error.abs().amax(dim=tuple(range(1, error.dim())), keepdim=True)
            error = error / largest.clamp_min(1.0)
        return error

    def feedback_parameters(self) -> list[nn.Parameter]:
        """Return the error kernels E_2 ... E_L."""
        return self.kernels

    @property
    def feedback_options(self) -> dict[str, float]:
        """Decay of the error kernels, where it differs from the weights'."""
        return {} if self.feedback_decay is None else {"weight_decay": self.feedback_decay}

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return the error kernels by block index."""
        return {index + 1: kernel.detach() for index, kernel in enumerate(self.kernels)}

    @torch.no_grad()
    def approach_backprop(self) -> Agreement | None:
        """With E = W and a vanishing beta the directions tend to backprop's: e_l = beta phi'(h_l) d_l + O(beta^2).

        The curvature of phi costs about beta; rounding costs 1e-16 over what is left of the error below k hidden
        layers, about beta^k. The deeper the network, the larger the beta at which both are small.
        """
        if not all(block.phi.differentiable for block in self.network.block_list):
            return None
        self.beta, self.target_activation = 1e-14 ** (1 / len(self.network.block_list)), None
        for kernel, block in zip(self.kernels, self.network.block_list[1:], strict=True):
            kernel.copy_(block.layer.weight)
        return Agreement(deviation=1e-2, up_to_scale=True)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the error kernels."""
        return {f"error_kernel.{index + 1}": kernel.detach() for index, kernel in enumerate(self.kernels)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the error kernels back."""
        for index, kernel in enumerate(self.kernels):
            kernel.copy_(state[f"error_kernel.{index + 1}"])
