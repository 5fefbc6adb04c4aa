"""How many images are computed at a time, where nobody says it: as many as keep a network's maps near the processor.

It follows from the network and the kind of device alone. A number measured on the machine would be a little faster and
would change from one day to the next, and with it the rounding of results; benchmarks/batches.py measures how much.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor, nn

from ..computing import ordinary_torch

LARGEST_MAP = {"cpu": 8 * 1024**2, "cuda": 256 * 1024**2}  # bytes that the largest map of a batch may take
MOST_AT_A_TIME = {"cpu": 250, "cuda": 1_000}
STEP = 32  # also the least


def fitting_batch(networks: Iterable[nn.Module], images: Tensor) -> int:
    """Return how many images to compute at a time: a multiple of 32, or the most that a device gets.

    Args:
        networks: all that compute on a batch, in evaluation mode.
        images: (N, C, H, W) on their device; one is looked at.

    """
    kind = "cpu" if images.device.type == "cpu" else "cuda"
    largest = max((_largest_map(network, images[:1]) for network in networks), default=1)
    fitting = LARGEST_MAP[kind] // largest
    return min(MOST_AT_A_TIME[kind], max(STEP, fitting // STEP * STEP))


@ordinary_torch(gradients=False)
def _largest_map(network: nn.Module, image: Tensor) -> int:
    """Return the bytes of the largest tensor that a module of a network returns for one image."""
    sizes = [image.nbytes]

    def note(module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.nbytes)

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.inference_mode(), suppress(Exception):  # what it raises is told where it is computed with
            network(image.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)
