"""The control: everything below the readout keeps its random start, and only the readout learns."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from .layers import transmit_and_correlate
from .rule import Agreement, LearningRule, Step, cross_entropy, softmax_error


class FrozenConvolutions(LearningRule):
    """Random features with a trained readout. A rule that does not beat this has not trained the layers below."""

    exemptions: ClassVar[dict[str, str]] = {
        "every layer": "nothing below the readout learns",
        "beats frozen": "it is the frozen control",
    }

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of the readout with its gradient; the other parameters get none."""
        logits, traces = self.network.trace(images)
        transmit_and_correlate(
            self.network.block_list[-1],
            traces[-1],
            softmax_error(logits, labels),
            self.network.block_list[-1].layer.weight,
            transmit=False,
        )
        return Step(cross_entropy(logits, labels), logits)

    def approach_backprop(self) -> Agreement:
        """Everywhere the readout's gradients are backprop's, and nothing else gets any."""
        return Agreement(deviation=1e-12, readout_alone=True)
