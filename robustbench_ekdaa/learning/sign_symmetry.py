"""Sign-symmetric feedback (Liao, Leibo and Poggio, AAAI 2016, arXiv:1510.05067; Moskovitz et al., arXiv:1812.06488)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..networks import Network
from ..networks.build import glorot_
from .feedback import lean_trace, refuse_flat_activations, send_back
from .rule import Agreement, LearningRule, Step, cross_entropy, softmax_error


class SignSymmetry(LearningRule):
    """Feedback alignment whose feedback has the weights' signs, and magnitudes of its own.

    delta_l as in feedback alignment, with (names after Moskovitz et al. 2018)::

        usf    B = s sign(W)          uniform: one magnitude s per layer
        brsf   B = abs(M_t) sign(W)   batchwise random: M_t drawn anew at every step
        frsf   B = abs(M) sign(W)     fixed random: M drawn once

    M is drawn as the weights are (Glorot uniform) and s is the standard deviation of that, so that errors keep their
    size from layer to layer.

    Args:
        magnitudes: which of the three.

    Limits: the signs are weight transport too, of one bit a weight.
    """

    def __init__(self, *, magnitudes: Literal["usf", "brsf", "frsf"] = "usf") -> None:
        self.magnitudes = magnitudes

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Draw the magnitudes abs(M) of B_2 ... B_L, or set them to s."""
        refuse_flat_activations(network)
        super().bind(network, generator)
        self.generator = generator
        self.m = [torch.empty_like(block.layer.weight).requires_grad_(False) for block in network.block_list[1:]]
        self._draw()

    def _draw(self) -> None:
        for m in self.m:
            if self.magnitudes == "usf":
                fan_in_and_out = (m.shape[0] + m.shape[1]) * math.prod(m.shape[2:])
                m.fill_(math.sqrt(2.0 / fan_in_and_out))
            else:
                glorot_(m, self.generator).abs_()

    def _feedback(self) -> list[Tensor]:
        layers = (block.layer for block in self.network.block_list[1:])
        return [m * layer.weight.detach().sign() for m, layer in zip(self.m, layers, strict=True)]

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases."""
        logits, traces = lean_trace(self.network, images)
        send_back(self.network, traces, softmax_error(logits, labels), self._feedback())
        return Step(cross_entropy(logits, labels), logits)

    def after_step(self) -> None:
        """Draw M_t anew for brsf."""
        if self.magnitudes == "brsf":
            self._draw()

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return B by block index."""
        return {index + 1: feedback for index, feedback in enumerate(self._feedback())}

    @torch.no_grad()
    def approach_backprop(self) -> Agreement:
        """With weights whose magnitudes are abs(M), B = W and the rule is backprop."""
        for feedback, block in zip(self._feedback(), self.network.block_list[1:], strict=True):
            block.layer.weight.copy_(feedback)
        return Agreement(deviation=1e-12)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the magnitudes and, for brsf, the state of what draws them."""
        state = {f"magnitudes.{index + 1}": m for index, m in enumerate(self.m)}
        return {**state, "generator": self.generator.get_state()} if self.magnitudes == "brsf" else state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        for index, m in enumerate(self.m):
            m.copy_(state[f"magnitudes.{index + 1}"])
        if self.magnitudes == "brsf":
            self.generator.set_state(state["generator"].cpu())
