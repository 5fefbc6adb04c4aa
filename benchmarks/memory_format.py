"""What channels last saves: training, crafting and scoring in that memory format against the default one, in turn.

    python benchmarks/memory_format.py

Prints, for grey and colour images, the median of the ratios of neighbours. One thread, small_cnn, random images.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from robustbench_ekdaa.cards import NetworkSpec, Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.networks import Network, build_network
from robustbench_ekdaa.randomness import keyed_generator

ROUNDS, BATCH = 15, 250
SHAPES = ((1, 28, 28), (3, 32, 32))


def network_in(memory_format: torch.memory_format, shape: tuple[int, int, int]) -> Network:
    network = build_network(NetworkSpec(preset="small_cnn"), shape, 10, keyed_generator(0, "weights"))
    return network.to(memory_format=memory_format).eval()


def works(memory_format: torch.memory_format, shape: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Return what is timed: a backprop step, an attack of ten steps, and a forward pass."""
    generator = keyed_generator(0, "images")
    images = torch.rand((BATCH, *shape), generator=generator)
    labels = torch.randint(0, 10, (BATCH,), generator=generator)
    network, attack = network_in(memory_format, shape), Workspace().attacks["bim"]
    rule, batch = Backprop(), images.to(memory_format=memory_format)
    rule.bind(network_in(memory_format, shape), generator)

    def score() -> torch.Tensor:
        with torch.inference_mode():
            return network(images)

    return {
        "train": lambda: rule.compute_gradients(batch, labels),
        "craft": lambda: list(craft(attack, [network], images, labels, [0.1])),
        "score": score,
    }


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    print(f"time with channels last / default, batches of {BATCH}\n")
    print("| images | train | craft | score |\n| --- | ---: | ---: | ---: |")
    for shape in SHAPES:
        last, default = (works(one, shape) for one in (torch.channels_last, torch.contiguous_format))
        for work in (*last.values(), *default.values()):
            work()
        ratios = [
            statistics.median(seconds(last[name]) / seconds(default[name]) for _ in range(ROUNDS)) for name in last
        ]
        print(f"| {'x'.join(map(str, shape))} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)


if __name__ == "__main__":
    main()
