"""Trainings side by side on one device: images a second of all together, by how they share it.

    python benchmarks/side_by_side.py --device cuda --markdown benchmarks/side_by_side.md

K trainings of `small_cnn` on made images of 28x28. In turn: their steps take turns in one process; K processes; K
streams of one process (CUDA alone); all weights stacked, and one step of `torch.func` for all (backprop alone: it needs
autograd). A figure is the images of all trainings, divided by the seconds from the start of the first to the end of the
last, after two steps to warm up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from robustbench_ekdaa.cards import NetworkSpec, Recipe
from robustbench_ekdaa.learning.optimisers import make_optimiser
from robustbench_ekdaa.networks import Network, build_network
from robustbench_ekdaa.networks.memory_format import MEMORY_FORMAT
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.registry import RULES

SPEC = NetworkSpec(preset="small_cnn")
RATE, MOMENTUM = 0.01, 0.9
RECIPE = Recipe(epochs=1, learning_rate=RATE, optimizer_options={"momentum": MOMENTUM})
WARM_UP = 2


def network_of(number: int, device: str) -> Network:
    """Return the network of one training."""
    made = build_network(SPEC, (1, 28, 28), 10, keyed_generator(number, "weights"))
    return made.to(device, memory_format=MEMORY_FORMAT)


def made_batch(batch: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels."""
    generator = keyed_generator(0, "images")
    images = torch.rand((batch, 1, 28, 28), generator=generator).to(device, memory_format=MEMORY_FORMAT)
    return images, torch.randint(0, 10, (batch,), generator=generator).to(device)


def step_of(rule_name: str, number: int, batch: int, device: str) -> Callable[[], None]:
    """Return a step of one training."""
    rule = RULES.get(rule_name)()
    rule.bind(network_of(number, device), keyed_generator(number, "feedback"))
    optimiser = make_optimiser(RECIPE, rule, "benchmark")
    images, labels = made_batch(batch, device)

    def step() -> None:
        rule.compute_gradients(images, labels)
        optimiser.step()
        rule.after_step()

    return step


def finish(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: str) -> float:
    """Return the seconds that some work takes, to the end of all that it started."""
    finish(device)
    clock = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - clock


def in_turn(rule: str, trainings: int, given: argparse.Namespace) -> float:
    """Let the trainings' steps take turns."""
    steps = [step_of(rule, number, given.batch, given.device) for number in range(trainings)]

    def run(count: int) -> None:
        for _ in range(count):
            for step in steps:
                step()

    run(WARM_UP)
    return timed(lambda: run(given.steps), given.device)


def _one_process(rule: str, number: int, given: argparse.Namespace, start: Barrier, end: Barrier) -> None:
    torch.set_num_threads(1)
    step = step_of(rule, number, given.batch, given.device)
    for _ in range(WARM_UP):
        step()
    finish(given.device)
    start.wait()
    for _ in range(given.steps):
        step()
    finish(given.device)
    end.wait()


def in_processes(rule: str, trainings: int, given: argparse.Namespace) -> float:
    """Give every training a process of its own."""
    context = multiprocessing.get_context("spawn")
    start, end = context.Barrier(trainings + 1), context.Barrier(trainings + 1)
    workers = [
        context.Process(target=_one_process, args=(rule, number, given, start, end), daemon=True)
        for number in range(trainings)
    ]
    for worker in workers:
        worker.start()
    start.wait(timeout=300)
    clock = time.perf_counter()
    end.wait(timeout=600)
    seconds = time.perf_counter() - clock
    for worker in workers:
        worker.join()
    return seconds


def in_streams(rule: str, trainings: int, given: argparse.Namespace) -> float | None:
    """Give every training a thread and a stream of its own."""
    if torch.device(given.device).type != "cuda":
        return None
    steps = [step_of(rule, number, given.batch, given.device) for number in range(trainings)]
    streams = [torch.cuda.Stream(given.device) for _ in steps]

    def run(step: Callable[[], None], stream: Any, count: int) -> None:
        with torch.cuda.stream(stream):
            for _ in range(count):
                step()

    with ThreadPoolExecutor(trainings) as pool:
        list(pool.map(run, steps, streams, [WARM_UP] * trainings))
        return timed(lambda: list(pool.map(run, steps, streams, [given.steps] * trainings)), given.device)


def stacked(rule: str, trainings: int, given: argparse.Namespace) -> float | None:
    """Stack all weights, and do one step for all trainings at once."""
    if rule != "backprop":
        return None
    networks = [network_of(number, given.device) for number in range(trainings)]
    weights, buffers = stack_module_state(networks)
    images, labels = made_batch(given.batch, given.device)

    def loss(weights: Any, buffers: Any) -> torch.Tensor:
        return cross_entropy(functional_call(networks[0], (weights, buffers), (images,)), labels)

    gradients_of = vmap(grad_and_value(loss))
    velocity = {name: torch.zeros_like(one) for name, one in weights.items()}

    def run(count: int) -> None:
        for _ in range(count):
            gradients, _ = gradients_of(weights, buffers)
            with torch.no_grad():
                for name, gradient in gradients.items():
                    velocity[name].mul_(MOMENTUM).add_(gradient)
                    weights[name].sub_(velocity[name], alpha=RATE)

    run(WARM_UP)
    return timed(lambda: run(given.steps), given.device)


WAYS: dict[str, Callable[[str, int, argparse.Namespace], float | None]] = {
    "in turn": in_turn,
    "processes": in_processes,
    "streams": in_streams,
    "stacked": stacked,
}


def table(given: argparse.Namespace) -> str:
    """Measure every way, and return a table."""
    lines = [f"| rule | trainings | {' | '.join(WAYS)} |", "|---|---:|" + "---:|" * len(WAYS)]
    for rule in given.rules:
        for trainings in given.trainings:
            images = trainings * given.steps * given.batch
            seconds = [way(rule, trainings, given) for way in WAYS.values()]
            cells = ["–" if one is None else f"{images / one:,.0f}" for one in seconds]
            lines.append(f"| {rule} | {trainings} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rules", nargs="+", default=["backprop", "ekdaa"])
    parser.add_argument("--trainings", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--batch", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--markdown", type=Path, help="where the page goes")
    given = parser.parse_args()
    found = table(given)
    cuda = torch.device(given.device).type == "cuda"
    device = torch.cuda.get_device_name(given.device) if cuda else f"{platform.machine()} CPU, a thread a process"
    page = (
        "# Trainings side by side\n\nWritten by `python benchmarks/side_by_side.py`, whose head says what is measured. "
        f"Images a second of all trainings together, in batches of {given.batch}; {device}, PyTorch "
        f"{torch.__version__}.\n\n{found}\n"
    )
    if given.markdown:
        given.markdown.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
