"""EKDAA: error-kernel driven activation alignment (Zee, Ororbia, Mali, Nwogu; TMLR 2023, arXiv:2206.01820)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...networks import ACTIVATIONS, Network
from ...networks.build import glorot_
from ..backward import BlockPass
from ..rule import HiddenErrorRule, Step


class Ekdaa(HiddenErrorRule):
    """Each layer moves its activations towards targets that learned error kernels send down; phi' is never used.

    With h the pre-activation, z = phi(h), W the weight and E the error kernel in W's shape::

        e_L = softmax(h_L) - onehot(y)
        d_l = E_{l+1} applied backwards to e_{l+1}, then back through pooling
        t_l = phi(h_l - beta d_l);   e_l = z_l - t_l
        dW_l = e_l correlated with z_{l-1} (batch mean);   dE_l = gamma dW_l

    Args:
        beta: how far targets are moved.
        gamma: size of the error kernels' updates relative to the weights'; has no influence, unless it is 0, under an
            optimiser that ignores the size of gradients (Adam, AdamW).
        error_kernels: how E starts; ``"random"`` draws it like a weight, ``"transpose"`` copies W (weight transport,
            which the rule exists to avoid; offered to measure what it is worth).
        feedback_decay: weight decay of E; default: the weights'. With gamma = 1 and the same decay on W and E, E aligns
            to W (Kolen and Pollack 1994; Akrout et al. 2019, arXiv:1904.05391).
        normalise_errors: divide an image's error map by its largest magnitude where that is above 1.
        target_activation: phi_t, a smooth stand-in in e_l = phi_t(h_l) - phi_t(h_l - beta d_l), for networks whose
            activation is flat almost everywhere (signum); default: the layer's own activation, as in the paper.

    Limits: errors shrink by beta at each layer on their way down, so an optimiser that ignores their size (AdamW) suits
    deep networks. e_l = z_l - t_l is a difference of nearly equal numbers and loses digits: with a small beta the
    lowest layers of a deep network get nothing but rounding errors (in float64, with six layers and beta = 1e-3).
    """

    scales: ClassVar[tuple[str, ...]] = ("gamma",)
    uses_derivative: ClassVar[bool] = False

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

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Create E_2 ... E_L: the first block sends nothing further down."""
        self.E = [nn.Parameter(block.layer.weight.detach().clone()) for block in network.block_list[1:]]
        if self.error_kernels == "random":
            for kernel in self.E:
                glorot_(kernel, generator)

    def signal(self, l: int, error: Tensor, labels: Tensor, above: BlockPass, delta: Tensor) -> Tensor:
        """E_{l+1} applied backwards to e_{l+1}."""
        return above.transmit(delta, self.E[l])

    def hidden_error(self, block: BlockPass, signal: Tensor) -> Tensor:
        """e_l = z_l - t_l with t_l = phi(h_l - beta d_l)."""
        phi = block.block.phi.forward
        phi_t = None if self.target_activation is None else ACTIVATIONS[self.target_activation].forward

        def error_map(d: Tensor, h: Tensor, z: Tensor) -> Tensor:
            moved = torch.sub(h, d, alpha=self.beta)
            error = z - phi(moved) if phi_t is None else phi_t(h) - phi_t(moved)
            if self.normalise_errors:
                largest = error.abs().amax(dim=tuple(range(1, error.dim())), keepdim=True)
                error = error / largest.clamp_min(1.0)
            return error

        return block.unit_by_unit(signal, error_map)

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights, biases and error kernels."""
        step = super().compute_gradients(images, labels)
        for kernel, block in zip(self.E, self.network.block_list[1:], strict=True):
            assert block.layer.weight.grad is not None
            kernel.grad = self.gamma * block.layer.weight.grad  # dE_l
        return step

    @property
    def feedback_options(self) -> dict[str, float]:
        """Decay of the error kernels, where it differs from the weights'."""
        return {} if self.feedback_decay is None else {"weight_decay": self.feedback_decay}

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return the error kernels by block index."""
        return {index: kernel.detach() for index, kernel in enumerate(self.E, 1)}
