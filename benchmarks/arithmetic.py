"""What sweeps of many models take: jobs, passes, bytes, core hours, and hours on so many nodes, from measured speed.

    python benchmarks/arithmetic.py            the table of docs/scale.md, from benchmarks/speeds.json
    python benchmarks/arithmetic.py --measure  measures one core of this machine first, and writes that file

Images are 28x28 and grey, networks are small_cnn, trained for 8 epochs on 60,000 images. The attacks are those of the
suite `transfer`, with their own numbers of steps and copies. Times are processor seconds of one thread.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from robustbench_ekdaa.cards import NetworkSpec, Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.passes import Passes, passes
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator

SPEEDS = Path(__file__).parent / "speeds.json"
SUITE, EPSILONS = "transfer", 8  # epsilons above 0
TRAINING_IMAGES, EPOCHS = 60_000, 8
TRAINING_BATCH, BATCH, STEPS = 64, 100, 10
OUTCOME_BYTES = 0.3  # at most, see benchmarks/scale.py
CORES = 64  # of a node
NODES = (1, 16, 128)
ROUNDS = 60


@dataclass(frozen=True)
class Scale:
    """A sweep: models, of which so many are surrogates, all of them targets in blocks, and test images."""

    models: int
    surrogates: int
    images: int
    block: int = 250  # targets of one sweep; each crafts its images again, so that a job need not hold all networks


SCALES = (Scale(65, 65, 10_000), Scale(1_000, 50, 10_000), Scale(10_000, 50, 1_000), Scale(10_000, 50, 10_000))


def seconds_an_image(work: Callable[[], object], images: int) -> float:
    """Return the processor seconds that work takes per image, at best; other processes do not count in them."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times) / images


def measure() -> dict[str, object]:
    """Time a training step, a crafting step and a forward pass on one core."""
    torch.set_num_threads(1)
    generator = keyed_generator(0, "images")
    images, labels = torch.rand((BATCH, 1, 28, 28), generator=generator), torch.arange(BATCH) % 10
    network = build_network(NetworkSpec(preset="small_cnn"), (1, 28, 28), 10, keyed_generator(0, "weights"))
    rule, attack = Backprop(), Workspace().attacks["bim"]
    rule.bind(network, generator)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-9, momentum=0.9)

    def train() -> None:
        rule.compute_gradients(images[:TRAINING_BATCH], labels[:TRAINING_BATCH])
        optimiser.step()

    def score() -> torch.Tensor:
        with torch.inference_mode():
            return network(images)

    training = seconds_an_image(train, TRAINING_BATCH)
    network.eval()
    steps = seconds_an_image(lambda: list(craft(attack, [network], images, labels, [0.1])), BATCH * STEPS)
    return {
        "machine": f"one core of {processor()}, PyTorch {torch.__version__}, {busy()}",
        "training_step": round(training, 7),
        "crafting_step": round(steps, 7),
        "forward_pass": round(seconds_an_image(score, BATCH), 7),
        "checkpoint_bytes": sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()),
    }


def processor() -> str:
    """Return what the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def busy() -> str:
    """Say how much else the machine had to do: on a busy one a pass takes up to twice the processor time."""
    waiting, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"while {waiting:.0f} processes ran on {cores} cores"


def gradients_an_image() -> float:
    """Return the gradients that all attacks of the suite take per surrogate and image, over all epsilons."""
    costs = [passes(card, EPSILONS) for card in Workspace().expand_attacks([SUITE])]
    return sum((cost for cost in costs if cost is not None), Passes(0, 0)).backward


def column(scale: Scale, speeds: dict[str, float]) -> dict[str, str]:
    """Return the quantities of one sweep, in words."""
    attacks = len(Workspace().expand_attacks([SUITE]))
    blocks = -(-scale.models // scale.block)
    crafted = scale.surrogates * scale.images
    steps = scale.models * TRAINING_IMAGES * EPOCHS
    gradients = crafted * gradients_an_image() * blocks
    forward = scale.models * crafted * attacks * EPSILONS
    hours = {
        "training": steps * speeds["training_step"] / 3600,
        "crafting": gradients * speeds["crafting_step"] / 3600,
        "scoring": forward * speeds["forward_pass"] / 3600,
    }
    total = sum(hours.values())
    return {
        "models, all of them targets": f"{scale.models:,}",
        "surrogates among them": f"{scale.surrogates:,}",
        "attacks x epsilons": f"{attacks} x {EPSILONS}",
        "test images": f"{scale.images:,}",
        "jobs: trainings, clean passes": f"{scale.models:,} each",
        f"jobs: craftings, per {scale.block} targets": f"{scale.surrogates * attacks * blocks:,}",
        "passes: training steps": f"{steps:.1e}",
        "passes: gradients of crafting": f"{gradients:.1e}",
        "passes: forward, of scoring": f"{forward:.1e}",
        "bytes: checkpoints": f"{scale.models * speeds['checkpoint_bytes'] / 1e9:,.1f} GB",
        "bytes: outcomes, at most": f"{forward * OUTCOME_BYTES / 1e9:,.1f} GB",
        **{f"core hours: {kind}": f"{spent:,.0f}" for kind, spent in hours.items()},
        **{f"hours on {n} node{'s' * (n > 1)} of {CORES} cores": f"{total / n / CORES:,.1f}" for n in NODES},
    }


def table(speeds: dict[str, float]) -> str:
    """Return the table in Markdown, a column a sweep."""
    columns = [column(scale, speeds) for scale in SCALES]
    lines = ["| |" + " |" * len(columns), "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {name} | " + " | ".join(each[name] for each in columns) + " |" for name in columns[0]]
    return "\n".join(lines)


def main() -> None:
    if "--measure" in sys.argv:
        SPEEDS.write_text(json.dumps(measure(), indent=2) + "\n")
    speeds = json.loads(SPEEDS.read_text())
    print(f"Measured on {speeds['machine']}.\n\n{table(speeds)}")


if __name__ == "__main__":
    main()
