"""Why EKDAA does not learn with ReLU from random error kernels: what its hidden layers and its readout come to.

    python benchmarks/unbounded_activations.py --run runs/unbounded          about a quarter of an hour on one core

Trains `wide_cnn` on 12,000 images of Fashion-MNIST for eight epochs, with the recipe of the card ekdaa at half its
rate, under activations with and without bound, once with kernels that start as the weights' transposes, and once by
Kolen-Pollack, which aligns its feedback by the same recipe and has no error map. Of the last hidden layer and the
readout above it, it shows how large the activations become, how large the readout's weights are in the end, and whether
its error kernels (or feedback weights) have come to point where its weights do.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from robustbench_ekdaa.cards import ModelCard
from robustbench_ekdaa.data import Dataset, shared_dataset
from robustbench_ekdaa.learning import TrainingJob, train
from robustbench_ekdaa.learning.training import load_network, make_network

VARIANTS = (
    ("ekdaa", "tanh", "random"),
    ("ekdaa", "relu", "random"),
    ("ekdaa", "leaky_relu", "random"),
    ("ekdaa", "relu", "transpose"),
    ("kolen_pollack", "relu", "random"),
)
IMAGES = 300
COLUMNS = (
    "rule",
    "activation",
    "kernels start",
    "learned from, %",
    "held out, %",
    "last hidden activation",
    "readout's weights",
    "angle of its kernels, degrees",
    "silent units, %",
)


def card(rule: str, activation: str, start: str) -> ModelCard:
    """Return the card of one variant."""
    options: dict[str, Any] = {"beta": 0.9, "gamma": 1.0} if rule == "ekdaa" else {}
    if start != "random":
        options["error_kernels"] = start
    recipe = {
        "epochs": 8,
        "batch_size": 64,
        "optimizer": "AdamW",
        "learning_rate": 1e-3,
        "optimizer_options": {"weight_decay": 0.3},
        "schedule": "CosineAnnealingLR",
        "schedule_options": {"T_max": 8},
    }
    network = {"preset": "wide_cnn", "activation": activation}
    return ModelCard.model_validate(
        {
            "kind": "model",
            "name": f"{rule}_{activation}_{start}",
            "rule": rule,
            "rule_options": options,
            "network": network,
            "training": {"default": recipe},
        }
    )


def root_mean_square(values: torch.Tensor) -> float:
    """Return the root of the mean square of a tensor."""
    return float(values.double().square().mean().sqrt())


@torch.no_grad()
def seen(network: Any, images: torch.Tensor) -> tuple[float, float, float]:
    """Return the size of the last hidden activation, that of the readout's weights, and the share of silent units."""
    hidden = network.trace(images)[1][-2].activation
    return (
        root_mean_square(hidden),
        root_mean_square(network.block_list[-1].layer.weight),
        float((hidden.amax(0) <= 0).double().mean()),
    )


def row(rule: str, activation: str, kernels: str, dataset: Dataset, run: Path) -> str:
    """Train one variant, or find it trained, and return its line of the table."""
    job = TrainingJob.on(dataset, card(rule, activation, kernels), 0, held_out=0.8)
    facts = train(job, dataset, run)
    images = dataset.test.images[:IMAGES]
    start, _, _ = seen(make_network(job, dataset), images)
    end, readout, silent = seen(load_network(job, dataset, run), images)
    angles = facts["layers"]["readout"]["feedback_angle"]
    learned, held = 100 * facts["train_accuracy"], 100 * facts["held_out_accuracy"]
    figures = (f"{learned:.1f}", f"{held:.1f}", f"{start:.2f} → {end:.2f}", f"{readout:.3f}", f"{angles:.0f}")
    return f"| {' | '.join((rule, activation, kernels, *figures, f'{100 * silent:.0f}'))} |"


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="what this folder holds is not trained again")
    run = parser.parse_args().run
    torch.set_num_threads(1)
    dataset = shared_dataset("fashion_mnist")
    print(f"| {' | '.join(COLUMNS)} |")
    print("| --- | --- | --- |" + " ---: |" * (len(COLUMNS) - 3))
    for variant in VARIANTS:
        print(row(*variant, dataset, run), flush=True)


if __name__ == "__main__":
    main()
