"""Time and memory of everything a run goes through, at the size of a paper: 9.5 billion outcomes.

    python benchmarks/scale.py --models 65 --attacks 25 --epsilons 9 --images 10000 --run DIR

Writes a run of made outcomes through the store's own interface, unless it is there: cards of five training seeds, all
of them surrogates and targets, all attacks on all surrogates. Then prints time and peak memory of planning the sweep
again, opening, `summary`, `frame` and `report`, each in a process of its own. No model is trained: its predictions are
drawn, so that images are hard or easy for all, and mistakes on one image are mostly the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import robustbench_ekdaa as rb
from robustbench_ekdaa.data import Dataset, dataset_from_arrays, shared_dataset
from robustbench_ekdaa.scoring.driver import data_record, image_record
from robustbench_ekdaa.scoring.plan import SweepPlan, plan_sweep
from robustbench_ekdaa.storing.keys import CraftingKey, OutcomeKey
from robustbench_ekdaa.storing.outcomes import AttackRecord, CraftingRecord, ModelRecord
from robustbench_ekdaa.storing.store import reading, writing

SEEDS, CLASSES = 5, 10
RULES = ("backprop", "ekdaa", "kolen_pollack", "frozen")
STEPS = ("planning", "opening", "summary", "frame", "report")
MODEL = """\
kind = "model"
name = "{name}"
rule = "{rule}"
[network]
preset = "small_cnn"
[training.default]
epochs = 1
batch_size = 64
optimizer = "SGD"
learning_rate = {rate}
"""
ATTACK = 'kind = "attack"\nname = "{name}"\nnorm = "linf"\nsteps = {steps}\nstep_size = "epsilon / steps"\n'


def made_data() -> Dataset:
    """Return a data set of 10,000 test images, all alike but for one pixel."""
    labels = np.arange(10_000) % CLASSES
    images = np.zeros((10_000, 1, 8, 8), np.float32)
    images[:, 0, 0, 0] = np.linspace(0, 1, 10_000)
    return dataset_from_arrays("made", (images[:100], labels[:100]), (images, labels), title="Made data")


def workspace(given: argparse.Namespace) -> rb.Workspace:
    """Write the cards of models and attacks, unless they are there."""
    folder = given.run / "workspace"
    for kind in ("models", "attacks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(given.models // SEEDS):
        name, rule = f"card_{number:02}", RULES[number % len(RULES)]
        text = MODEL.format(name=name, rule=rule, rate=0.01 + 0.001 * number)
        (folder / "models" / f"{name}.toml").write_text(text)
    for number in range(given.attacks):
        name = f"steps_{number + 1:02}"
        (folder / "attacks" / f"{name}.toml").write_text(ATTACK.format(name=name, steps=number + 1))
    return rb.Workspace(folder)


def plan(given: argparse.Namespace) -> SweepPlan:
    """Plan the sweep."""
    rb.register_dataset("made")(made_data)
    spec = rb.SweepSpec(
        datasets=("made",),
        models=tuple(f"card_{number:02}" for number in range(given.models // SEEDS)),
        attacks=tuple(f"steps_{number + 1:02}" for number in range(given.attacks)),
        epsilons=tuple(np.linspace(0, 0.3, given.epsilons + 1).round(4).tolist()),
        images=given.images,
        seeds=SEEDS,
    )
    return plan_sweep(spec, workspace(given), shared_dataset("made"))


class Drawn:
    """Draws what targets predict."""

    def __init__(self, labels: NDArray[np.int64], targets: int) -> None:
        self.labels = labels.astype(np.uint8)
        draw = np.random.default_rng(0)
        self.hardness = draw.standard_normal(len(labels), np.float32) * 1.5
        self.own = draw.standard_normal((targets, len(labels)), np.float32) * 0.7
        self.confused = ((labels + draw.integers(1, CLASSES, (3, len(labels)))) % CLASSES).astype(np.uint8)

    def predictions(self, strength: float, number: int) -> NDArray[np.uint8]:
        """Return the classes that the targets predict, (T, N), under an attack of some strength in logits."""
        draw = np.random.default_rng((1, number))
        margin = 3.0 - strength - self.hardness + self.own
        right = margin + draw.standard_normal(margin.shape, np.float32) > 0
        other = self.confused[draw.choice(3, margin.shape, p=(0.7, 0.2, 0.1)), np.arange(len(self.labels))]
        return np.where(right, self.labels, other)


def write(given: argparse.Namespace) -> None:
    """Write the run through the store's own interface."""
    made = plan(given)
    keys = [job.key for job in made.targets]
    images = image_record(made.dataset, made.images)
    drawn = Drawn(images.labels, len(keys))
    attacks = [
        AttackRecord(key, card.name, card.label, card.norm, card.model_dump(mode="json")) for key, card in made.attacks
    ]
    with writing(given.run) as store:
        store.add_sweep(data_record(made.dataset), images, attacks, made.spec.as_stored(), made.roles(), None)
        clean = drawn.predictions(0.0, 0)
        for job, predictions in zip(made.targets, clean, strict=True):
            facts = {"network": "small_cnn", "epochs": 1, "seconds": 1.0}
            store.add_model(
                ModelRecord(job.key, job.card.name, job.card.label, job.card.rule_name, "made", job.seed, metrics=facts)
            )
            store.add_outcomes(images.key, {OutcomeKey.clean(job.key): predictions})
        jobs, number = made.craft_jobs(store.stored(images.key), set()), 0
        for job in jobs:
            outcomes: dict[OutcomeKey, Any] = {}
            facts_of = []
            for epsilon, targets in job.wanted:
                number += 1
                crafting = CraftingKey(job.surrogates.key, job.attack_key, epsilon)
                strength = 20 * epsilon * (0.7 + 0.3 * job.attack.steps / given.attacks)
                answers = drawn.predictions(strength, number)
                outcomes |= {crafting.of(target.key): answers[keys.index(target.key)] for target in targets}
                facts_of.append(CraftingRecord(crafting, {"seconds": 1.0, "zero_gradient_share": 0.0}, None))
            store.add_outcomes(images.key, outcomes, facts_of)


def planning(given: argparse.Namespace) -> int:
    """Plan the sweep again; nothing is missing."""
    made = plan(given)
    with reading(given.run) as store:
        stored = store.stored(made.images.key)
    assert not made.craft_jobs(stored, set())
    return len(stored) - len(made.targets)


MEASURED: dict[str, Callable[[argparse.Namespace], object]] = {
    "planning": planning,
    "opening": lambda given: rb.open_results(given.run),
    "summary": lambda given: rb.open_results(given.run).summary(),
    "frame": lambda given: rb.open_results(given.run).frame(),
    "report": lambda given: rb.report(given.run, given.run.with_name(f"{given.run.name}-report")),
}


def measure(given: argparse.Namespace) -> None:
    """Do one step in this process, and print its seconds and peak memory."""
    wall, processor = time.perf_counter(), time.process_time()
    MEASURED[given.step](given)
    facts = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    print(json.dumps({**facts, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main() -> None:
    """Write the run, and measure every step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("models", 65), ("attacks", 25), ("epsilons", 9), ("images", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=value, help="default: %(default)s")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--step", choices=STEPS, help="measure this step alone, in this process")
    given = parser.parse_args()
    if given.step:
        measure(given)
        return
    clock = time.perf_counter()
    write(given)
    count = given.models * given.models * given.attacks * given.epsilons * given.images
    size = (given.run / "results.sqlite").stat().st_size
    print(f"written in {time.perf_counter() - clock:.0f} s: {count:,} outcomes, {size / count:.3f} bytes each")
    print("| step | seconds | of the processor | peak memory, GB |\n| --- | ---: | ---: | ---: |")
    for step in STEPS:
        found = subprocess.run([sys.executable, *sys.argv, "--step", step], check=True, capture_output=True, text=True)
        facts = json.loads(found.stdout.splitlines()[-1])
        print(f"| {step} | {facts['wall']:.1f} | {facts['processor']:.1f} | {facts['peak'] / 1e9:.2f} |", flush=True)


if __name__ == "__main__":
    main()
