"""What the batch size that sweeps choose costs beside the best one: gradient steps and forward passes in several sizes.

    python benchmarks/batches.py

Prints, per preset and image size, the microseconds an image of a gradient to the images and of a forward pass (lower
quartile of many), and the size that a sweep takes. One thread; memory is kept as workers keep it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from robustbench_ekdaa.cards import NetworkSpec
from robustbench_ekdaa.memory import keep_freed_memory
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.networks.memory_format import MEMORY_FORMAT
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.scoring.batches import fitting_batch

SIZES = (25, 64, 100, 128, 160, 250, 500)
SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
IMAGES = 3_000  # passed per measurement


def microseconds(work: Callable[[], object], images: int) -> float:
    """Return the lower quartile of the time that work takes per image."""
    work()
    times = []
    for _ in range(max(8, IMAGES // images)):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.quantiles(times, n=4)[0] / images


def gradient(network: nn.Module, images: Tensor) -> None:
    """Take the gradient of a network's logits to images."""
    variable = images.clone().requires_grad_()
    torch.autograd.grad(network(variable).sum(), variable)


def forward(network: nn.Module, images: Tensor) -> None:
    """Pass images through a network."""
    with torch.inference_mode():
        network(images)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| network | image | pass |", " | ".join(map(str, SIZES)), "| a sweep takes |")
    print("| --- | --- | --- |", " | ".join(["---:"] * len(SIZES)), "| ---: |")
    for preset, shape in product(("small_cnn", "wide_cnn", "mlp"), SHAPES):
        network = build_network(NetworkSpec(preset=preset), shape, 10, keyed_generator(0, "weights")).eval()
        network.to(memory_format=MEMORY_FORMAT).requires_grad_(False)  # type: ignore[call-overload]
        batches = [torch.rand(size, *shape).contiguous(memory_format=MEMORY_FORMAT) for size in SIZES]
        chosen = fitting_batch([network], batches[0])
        for work in (gradient, forward):
            told = [f"{microseconds(partial(work, network, images), len(images)):.0f}" for images in batches]
            print(f"| {preset} | {'x'.join(map(str, shape))} | {work.__name__} |", " | ".join(told), f"| {chosen} |")


if __name__ == "__main__":
    main()
