"""The control: everything below the readout keeps its random start, and only the readout learns."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..backward import correlate
from ..rule import LearningRule, Step, cross_entropy, softmax_error


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
        correlate(self.network.block_list[-1], traces[-1], softmax_error(logits, labels))
        return Step(cross_entropy(logits, labels), logits)
