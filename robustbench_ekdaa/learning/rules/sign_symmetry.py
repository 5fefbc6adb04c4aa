"""Sign-symmetric feedback (Liao, Leibo and Poggio, AAAI 2016, arXiv:1510.05067; Moskovitz et al., arXiv:1812.06488)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ...networks import Network
from ...networks.build import glorot_
from ..backward import BlockPass
from ..rule import HiddenErrorRule


class SignSymmetry(HiddenErrorRule):
    """Feedback alignment whose feedback has the weights' signs, and magnitudes of its own.

    delta_l as in feedback alignment, with (names after Moskovitz et al. 2018)::

        usf    B = s sign(W)          uniform: one magnitude s per layer
        brsf   B = abs(M_t) sign(W)   batchwise random: M_t drawn anew at every step
        frsf   B = abs(M) sign(W)     fixed random: M drawn once

    M is drawn as the weights are (Glorot uniform) and s is the standard deviation of that distribution, so that errors
    keep their size from layer to layer.

    Args:
        magnitudes: which of the three variants.

    Limits: copying the signs is weight transport too, of one bit per weight.
    """

    def __init__(self, *, magnitudes: Literal["usf", "brsf", "frsf"] = "usf") -> None:
        self.magnitudes = magnitudes

    def create_feedback(self, network: Network, generator: torch.Generator) -> None:
        """Draw the magnitudes abs(M) of B_2 ... B_L, or set them to s."""
        self.generator = generator
        self.M = [torch.empty_like(block.layer.weight).requires_grad_(False) for block in network.block_list[1:]]
        self._draw()

    def _draw(self) -> None:
        for m in self.M:
            if self.magnitudes == "usf":
                fan_in_and_out = (m.shape[0] + m.shape[1]) * math.prod(m.shape[2:])
                m.fill_(math.sqrt(2.0 / fan_in_and_out))
            else:
                glorot_(m, self.generator).abs_()

    def signal(self, l: int, error: Tensor, labels: Tensor, above: BlockPass, delta: Tensor) -> Tensor:
        """B_{l+1} applied backwards to delta_{l+1}, with B = abs(M) sign(W)."""
        return above.transmit(delta, self.M[l] * above.weight.sign())

    def after_step(self) -> None:
        """Draw M_t anew for brsf."""
        if self.magnitudes == "brsf":
            self._draw()

    def feedback_weights(self) -> dict[int, Tensor]:
        """Return B by block index."""
        weights = (block.layer.weight.detach() for block in self.network.block_list[1:])
        return {index: m * weight.sign() for index, (m, weight) in enumerate(zip(self.M, weights, strict=True), 1)}
