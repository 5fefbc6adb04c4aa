"""What a training step of each learning rule costs, against backprop's autograd step on the same network and batch.

    python benchmarks/learning_rules.py --markdown benchmarks/learning_rules.md      this machine's CPU, one thread
    python benchmarks/learning_rules.py fa dfa --device cuda --network lenet --batch 256 --shapes 1x28x28

Time: the two steps take turns in one process, so that whatever else the machine does meets both; the figure is the
median of the ratios of neighbours. A step is gradients, the optimiser's step (SGD with momentum, for both), and what
the rule does after it. Memory: the most bytes of tensors alive at once during a step, parameters, feedback and momentum
included; on the CPU from the allocations that torch's profiler records, on CUDA from its allocator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Torch's profiler reports its starting and stopping otherwise.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch

from robustbench_ekdaa.cards import NetworkSpec, Recipe
from robustbench_ekdaa.learning.optimisers import make_optimiser
from robustbench_ekdaa.learning.rule import LearningRule
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.networks.memory_format import MEMORY_FORMAT
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.registry import RULES

RECIPE = Recipe(epochs=1, learning_rate=0.01, optimizer_options={"momentum": 0.9, "weight_decay": 1e-3})
VARIANTS = {
    **{name: (name, {}) for name in RULES},
    "sign_symmetry brsf": ("sign_symmetry", {"magnitudes": "brsf"}),
    "sign_symmetry frsf": ("sign_symmetry", {"magnitudes": "frsf"}),
}
HEADING = """# What a training step costs

Written by `python benchmarks/learning_rules.py --markdown benchmarks/learning_rules.md`.
The head of that script says how it is measured.
Ratios are medians over pairs of steps taken side by side; rows were measured at different times, so the milliseconds of
different rows are not to be divided.

"""
# PEPITA has a network of its own, and is compared with backprop on that.
SHALLOW = NetworkSpec.model_validate({"blocks": [{"layer": "linear", "width": 1024}], "activation": "relu"})


@dataclass(frozen=True)
class Cost:
    """One rule's step: median milliseconds, ratio to backprop's, its quartiles, and the ratio of peak bytes."""

    rule: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    memory: float


@dataclass(frozen=True)
class Setting:
    """What all steps of one table share."""

    network: str
    shape: tuple[int, int, int]
    batch: int
    device: torch.device
    repeats: int


def make_step(make: Callable[[], LearningRule], spec: NetworkSpec, setting: Setting) -> Callable[[], None]:
    """Return a function that does one training step on a batch that stays the same."""
    network = build_network(spec, setting.shape, 10, keyed_generator(0, "weights"))
    network = network.to(setting.device, memory_format=MEMORY_FORMAT)
    rule = make()
    rule.bind(network, keyed_generator(0, "feedback"))
    optimiser = make_optimiser(RECIPE, rule, "benchmark")
    generator = keyed_generator(0, "images")
    images = torch.rand((setting.batch, *setting.shape), generator=generator)
    images = images.to(setting.device, memory_format=MEMORY_FORMAT)
    labels = torch.randint(0, 10, (setting.batch,), generator=generator).to(setting.device)

    def step() -> None:
        rule.compute_gradients(images, labels)
        optimiser.step()
        rule.after_step()

    step()
    step()
    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """Time one step, to the end of all that it started."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def paired(
    step: Callable[[], None], reference: Callable[[], None], setting: Setting
) -> tuple[list[float], list[float]]:
    """Time both steps in turn, `repeats` times."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(setting.repeats):
        # Which goes first changes, so that neither always finds the caches warmed by the other.
        for which in (0, 1) if repeat % 2 else (1, 0):
            times[which].append(seconds((step, reference)[which], setting.device))
    return times


def peak_bytes(make: Callable[[], LearningRule], spec: NetworkSpec, setting: Setting) -> int:
    """Return the most bytes of tensors alive at once: all that the rule keeps and all that a step adds for a while."""
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(setting.device)
        step = make_step(make, spec, setting)
        torch.cuda.reset_peak_memory_stats(setting.device)
        step()
        return torch.cuda.max_memory_allocated(setting.device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = make_step(make, spec, setting)
        step()
    del step
    return max(running_bytes(profiler))


def running_bytes(profiler: torch.profiler.profile) -> Iterator[int]:
    """Yield how many bytes are alive after each allocation and release on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    alive = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        if event["args"]["Device Type"] == 0:
            alive += event["args"]["Bytes"]
            yield alive


def measure(name: str, setting: Setting) -> Cost:
    """Measure one rule against backprop."""
    rule, options = VARIANTS[name]
    spec = SHALLOW if rule == "pepita" else NetworkSpec(preset=setting.network)

    def make() -> LearningRule:
        made: LearningRule = RULES.get(rule)(**options)
        return made

    times, reference = paired(make_step(make, spec, setting), make_step(Backprop, spec, setting), setting)
    ratios = [one / other for one, other in zip(times, reference, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    memory = peak_bytes(make, spec, setting) / peak_bytes(Backprop, spec, setting)
    return Cost(name, 1e3 * statistics.median(times), statistics.median(ratios), low, high, memory)


def table(costs: list[Cost], setting: Setting) -> str:
    """Return the table in Markdown, under a line that says what was measured on what."""
    device = torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else processor()
    shape = "x".join(map(str, setting.shape))
    lines = [
        f"{setting.network}, {shape} images, batches of {setting.batch}, {setting.repeats} pairs; {device}, "
        f"torch {torch.__version__.partition('+')[0]}, {torch.get_num_threads()} thread(s).",
        "",
        "| rule | step, ms | time / backprop | quartiles | memory / backprop |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {cost.rule} | {cost.milliseconds:.2f} | {cost.ratio:.2f} | {cost.low:.2f}-{cost.high:.2f} "
        f"| {cost.memory:.2f} |"
        for cost in costs
    ]
    return "\n".join([*lines, "", "pepita: on its own shallow network, against backprop on that."]) + "\n"


def processor() -> str:
    """Name this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Measure what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", nargs="*", default=list(VARIANTS), help="rules to measure (default: all)")
    parser.add_argument("--network", default="small_cnn")
    parser.add_argument("--shapes", nargs="+", default=["1x28x28", "3x32x32"], metavar="CxHxW")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tables = []
    for text in given.shapes:
        channels, height, width = map(int, text.split("x"))
        device = torch.device(given.device)
        setting = Setting(given.network, (channels, height, width), given.batch, device, given.repeats)
        tables.append(table([measure(name, setting) for name in given.rules], setting))
        print(tables[-1], flush=True)
    if given.markdown:
        given.markdown.write_text(HEADING + "\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
