"""What of a sweep's time is anything but passes of models: planning, loading, drawing, packing, storing.

    python benchmarks/sweep_overhead.py --dataset fashion_mnist

Models that were never trained (they cost the same) of three cards and two seeds are attacked and scored in this
process, one thread. Every call of a network's forward and of autograd is timed on the way; all else is overhead.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import NetworkSpec
from robustbench_ekdaa.data import shared_dataset
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator

CARDS, SEEDS = ("first", "second", "third"), 2
SPEC = NetworkSpec(preset="small_cnn")


class Watch:
    """Adds up the seconds that are spent in a model."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time what is inside, once where calls are nested."""
        self._depth += 1
        clock = time.perf_counter()
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.seconds += time.perf_counter() - clock


def watch_passes(watch: Watch) -> None:
    """Time every forward pass of a module, and every call of autograd."""
    call, grad = nn.Module.__call__, torch.autograd.grad

    def timed_call(self: nn.Module, *given: Any, **more: Any) -> Any:
        with watch.timed():
            return call(self, *given, **more)

    def timed_grad(*given: Any, **more: Any) -> Any:
        with watch.timed():
            return grad(*given, **more)

    nn.Module.__call__ = timed_call  # type: ignore[method-assign]
    torch.autograd.grad = timed_grad


def main() -> None:
    """Sweep, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="fashion_mnist", help="default: %(default)s")
    parser.add_argument("--images", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--attacks", default="fgsm,bim,pgd,mi_fgsm", help="default: %(default)s")
    parser.add_argument("--profile", action="store_true", help="say in which functions; that alone costs time, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = shared_dataset(given.dataset)
    for number, card in enumerate(CARDS):
        networks = {
            seed: build_network(
                NetworkSpec(preset="small_cnn"),
                dataset.image_shape,
                len(dataset.classes),
                keyed_generator(seed, number),
            )
            for seed in range(SEEDS)
        }
        rb.register_model(card, networks, rule="none")
    spec = rb.SweepSpec(
        datasets=(given.dataset,),
        models=CARDS,
        attacks=tuple(given.attacks.split(",")),
        epsilons=(0.02, 0.04, 0.06, 0.08, 0.1),
        images=given.images,
        seeds=SEEDS,
    )
    watch = Watch()
    watch_passes(watch)
    with tempfile.TemporaryDirectory() as folder:
        clock = time.perf_counter()
        with cProfile.Profile() if given.profile else nullcontext() as profile:
            rb.sweep(spec, folder, device="cpu")
        whole = time.perf_counter() - clock
    rest = 100 * (1 - watch.seconds / whole)
    print(f"whole: {whole:.1f} s; passes of models: {watch.seconds:.1f} s; all else: {rest:.1f} %")
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats("robustbench_ekdaa|sqlite|zlib|hashlib", 15)


if __name__ == "__main__":
    main()
