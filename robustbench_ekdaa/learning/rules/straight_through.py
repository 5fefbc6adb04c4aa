"""Straight-through backprop for activations without a derivative (Bengio, Leonard and Courville, arXiv:1308.3432)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ...networks import Network, signum_backward
from ...networks.activations import BackwardMode
from ..feedback import refuse_flat_activations
from ..rule import LearningRule, Step
from .backprop import Backprop


class StraightThrough(Backprop):
    """Backprop with a stand-in for the derivative of signum: the baseline for networks with that activation.

    delta_l = (W_{l+1}^T delta_{l+1}) g(h_l), where for signum g(h) = 1 if abs(h) <= 1 and 0 elsewhere (Courbariaux et
    al. 2016, arXiv:1602.02830), or the derivative of tanh(k h); for all other activations g = phi'. The forward pass is
    untouched.

    Args:
        stand_in: which g; ``"zero"`` is signum's own derivative, with which no layer below the signum learns.
        k: steepness of the tanh.

    """

    def __init__(self, *, stand_in: BackwardMode = "straight_through", k: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.stand_in, self.k = stand_in, k

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Take the network; raises UsageError for signum if `stand_in` is ``"zero"``."""
        if self.stand_in == "zero":
            refuse_flat_activations(network)
        LearningRule.bind(self, network, generator)

    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` by autograd with the stand-in."""
        with signum_backward(self.stand_in, self.k):
            return super().compute_gradients(images, labels)
