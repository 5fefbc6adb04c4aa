"""Networks of any architecture: a module that a function makes, behind the input normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..cards import NetworkSpec
from ..errors import UsageError, shown
from ..randomness import random_integers, seeded_globals
from ..registry import FACTORIES, build
from .network import Block, Network, Trace, TraceBlock


class ModuleNetwork(Network):
    """Input normalisation, then any module; it has no blocks, so that only rules that ask for none can train it.

    Args:
        body: from normalised images (N, C, H, W) to logits (N, K).
        mean: of each channel, (C,), subtracted from the images.
        deviation: of each channel, (C,), by which they are then divided.
        image_shape: (C, H, W).

    """

    def __init__(self, body: nn.Module, mean: Tensor, deviation: Tensor, image_shape: tuple[int, int, int]) -> None:
        super().__init__([], mean, deviation, image_shape)
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.body(self.normalise(images))
        return logits

    def trace(self, images: Tensor, step: TraceBlock = Block.trace) -> tuple[Tensor, list[Trace]]:
        """Raise UsageError: there are no blocks."""
        raise UsageError("this network is not made of blocks, so that its layers cannot be told errors one by one")


def make_body(
    spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int, generator: torch.Generator, where: str
) -> nn.Module:
    """Return the module that a card's factory makes.

    Modules draw their first weights from PyTorch's global generator: it is seeded meanwhile, and then as it was.

    Args:
        spec: the network's description in a card, with a factory.
        image_shape: (C, H, W).
        classes: K, the number of logits.
        generator: draws the seed.
        where: what errors call it.

    Raises:
        UsageError: for an unknown factory or option, or a factory that makes no module with float32 weights.

    """
    assert spec.factory is not None
    factory = FACTORIES.get(spec.factory, spec.folder)
    (seed,) = random_integers(2**31, 1, generator)
    with seeded_globals(seed):
        body = build(factory, spec.options, f"{where}.options", image_shape=image_shape, classes=classes)
    if not isinstance(body, nn.Module):
        raise UsageError(f"{where}.factory: {spec.factory} must return a torch.nn.Module (got {shown(body)})")
    wrong = sorted({str(tensor.dtype) for tensor in body.parameters() if tensor.dtype != torch.float32})
    if wrong:
        raise UsageError(f"{where}.factory: {spec.factory} must return a module of float32 weights (got {wrong[0]})")
    if not any(True for _ in body.parameters()):
        raise UsageError(f"{where}.factory: {spec.factory} returns a module without weights: nothing can learn")
    return body
