"""Four ways in which a learning rule can look robust and is not, measured on the digits and drawn for docs/verdicts.md.

    python benchmarks/looks_robust.py                     two minutes on one core; writes docs/img/looks-robust-*.png
    python benchmarks/looks_robust.py --run runs/looks    keeps the run, so that drawing again takes seconds

Nothing here is a learning rule's merit: one network, the cards backprop, ekdaa and frozen as they are, five training
seeds, 300 test images. What changes is who attacks, how, and when training stopped.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.checks.withstood import differences, withstood, withstood_white_box
from robustbench_ekdaa.analysis.transfer import transfer_grids
from robustbench_ekdaa.rendering.labels import LABEL_GAP, label_line, place_labels
from robustbench_ekdaa.rendering.style import COLOURS, GREY, KEPT_COLOURS, caption, clean_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES, SEEDS = 300, 5
EPSILONS = (0, 0.05, 0.1, 0.15, 0.2, 0.25)
EPSILON = 0.2  # where two cards are compared
EPOCHS = (1, 2, 4)  # after which backprop is stopped; its whole training has 20
FACTORS = (1, 10, 30)  # of the logits
PLACE = Path(__file__).parents[1] / "docs" / "img"
SMALL_STEPS = """
kind = "attack"
name = "small_steps"
title = "BIM with steps of ε / 100"
norm = "linf"
steps = 10
step_size = "epsilon / 100"
"""
BLUE, ORANGE, GREEN, PINK, SKY = COLOURS[:5]


class Line(NamedTuple):
    """One line of a figure: accuracy by training seed and epsilon, (n, E)."""

    label: str
    colour: str
    accuracy: np.ndarray
    dashed: bool = False


def swept(run: Path) -> rb.Results:
    """Train the cards and attack them; a run that is there already is gone on with."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "attacks").mkdir()
        (Path(folder) / "attacks" / "small_steps.toml").write_text(SMALL_STEPS, encoding="utf-8")
        stopped = tuple(f"backprop#{epoch}" for epoch in EPOCHS)
        spec = rb.SweepSpec(
            datasets=("digits",),
            models=("backprop", "frozen", *stopped),
            surrogates=("backprop", "ekdaa", "frozen", "backprop#1"),
            attacks=("bim", "small_steps", "noise"),
            epsilons=EPSILONS,
            verdict_epsilon=EPSILON,
            images=IMAGES,
            seeds=SEEDS,
            keep_epochs="all",
        )
        return rb.sweep(spec, run, workspace=folder)


# -- the four ways ---------------------------------------------------------------------------------------------------


def draw_surrogates(results: rb.Results) -> Figure:
    """Draw the difference of two cards by the card that images were crafted on."""
    (grid,) = transfer_grids(results.outcomes[0])
    pair = ("frozen", "backprop")
    cards = ("backprop", "ekdaa", "frozen")
    sources = {f"crafted on {card}": withstood(grid, EPSILON, surrogates=[card]) for card in cards}
    sources["crafted on itself (white-box)"] = withstood_white_box(grid, EPSILON)
    gaps = {name: differences(kept, pair)[pair] for name, kept in sources.items()}
    figure = new_figure(6.6, 2.6)
    axes = figure.subplots()
    clean_axes(axes)
    for place, gap in enumerate(gaps.values()):
        middle, low, high = (100 * float(value) for value in (gap.estimate, gap.low, gap.high))
        colour = BLUE if middle < 0 else ORANGE
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(middle, place, "o", color=colour, markersize=6)
        axes.annotate(f"{middle:+.1f}", (middle, place), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(gaps)), list(gaps))
    axes.set(ylim=(len(gaps) - 0.5, -0.7), xlabel="accuracy of frozen minus that of backprop (points)")
    axes.xaxis.label.set(fontsize=8.5, color=GREY)
    axes.set_title("Whoever attacks decides who looks robust", fontsize=11, loc="left")
    caption(
        figure,
        [
            f"BIM at ε = {EPSILON:g} (ℓ∞, pixels in [0, 1]); {IMAGES} digits, {SEEDS} training seeds; bars: 95 % "
            "intervals over images and seeds. frozen is a control: of its network only the readout has learned.",
        ],
    )
    return figure


class Louder(nn.Module):
    """A network whose logits are multiplied: every answer is as before."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        return self.factor * self.network(images)


def draw_masking(run: Path) -> Figure:
    """Draw white-box accuracy of one network whose logits are multiplied, which changes no answer."""
    test = rb.load_dataset("digits", "test", IMAGES)
    lines = []
    for factor, colour in zip(FACTORS, (BLUE, SKY, ORANGE), strict=True):
        rows = []
        for seed in range(SEEDS):
            network = rb.load_model("backprop", "digits", seed=seed, run=run)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that gradients vanish is what is shown
                attacked = rb.craft("bim", Louder(network, factor), test.images, test.labels, EPSILONS[1:])
            rows.append([_accuracy(network, images, test.labels) for images in (test.images, *attacked)])
        label = "as it was trained" if factor == 1 else f"logits times {factor}"
        lines.append(Line(label, colour, np.array(rows)))
    return _curves(
        "One network, the same answers, three scales of its logits",
        lines,
        "BIM on the network itself (white-box). Multiplying its readout changes no answer, also not to images that "
        "fool it; but in float32 the softmax reaches 1, and the gradient that the attack follows is exactly 0.",
    )


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def draw_training(results: rb.Results) -> Figure:
    """Draw one card, stopped after some epochs, under attacks from its whole training's other seeds."""
    shades = ("#8cb8dc", "#5d9ccf", "#2f82bd", "#00497a")
    names = {f"backprop#{epoch}": f"{epoch} epoch{'s' * (epoch > 1)}" for epoch in EPOCHS} | {"backprop": "20 epochs"}
    lines = []
    for (card, label), colour in zip(names.items(), shades, strict=True):
        lines.append(Line(label, colour, _accuracies(results, card, "bim", "ekdaa")))
    return _curves(
        "One rule, one recipe, stopped earlier and later",
        lines,
        "backprop after some of its epochs, under BIM crafted on ekdaa. The less it has learned, the lower its curve "
        "starts and the less steep it falls: beyond the crossing, the least accurate network leads.",
    )


def draw_attacks(results: rb.Results) -> Figure:
    """Draw one card under attackers of different strength."""
    card = "backprop"
    lines = [
        Line("noise", GREY, _accuracies(results, card, "noise"), dashed=True),
        Line("steps of ε / 100", PINK, _accuracies(results, card, "small_steps", "backprop")),
        Line("crafted on frozen", KEPT_COLOURS["frozen"], _accuracies(results, card, "bim", "frozen")),
        Line("crafted on backprop,\n1 epoch", SKY, _accuracies(results, card, "bim", "backprop#1")),
        Line("crafted on backprop", GREEN, _accuracies(results, card, "bim", "backprop")),
        Line("crafted on itself", ORANGE, _accuracies(results, card, "bim", own=True)),
    ]
    return _curves(
        "One network, six attackers",
        lines,
        "backprop under BIM of ten steps, from surrogates of other seeds and from itself (white-box). What a weak "
        "attacker leaves is no robustness.",
    )


# -- numbers and lines -----------------------------------------------------------------------------------------------


def _accuracies(
    results: rb.Results, target: str, attack: str, surrogate: str | None = None, own: bool = False
) -> np.ndarray:
    """Return a card's accuracy by training seed and epsilon, (n, E): the mean over a surrogate card's other seeds."""
    frame = results.frame()
    rows = frame[(frame["target"] == target) & (frame["attack"] == attack)]
    if own:
        rows = rows[rows["relation"] == "white-box"]
    elif surrogate is not None:
        other = ~rows["relation"].isin(["white-box", "same-training", "same-start"])
        rows = rows[(rows["surrogate"] == surrogate) & other]
    table: pd.DataFrame = rows.groupby(["target_seed", "epsilon"])["accuracy"].mean().unstack()
    return table.to_numpy()


def _curves(title: str, lines: Sequence[Line], sentence: str) -> Figure:
    """Draw accuracy against epsilon with a band over training seeds and a label at the end of each line."""
    figure = new_figure(6.6, 3.4)
    axes: Axes = figure.subplots()
    clean_axes(axes)
    for line in lines:
        heights = 100 * line.accuracy
        style = (0, (4, 2)) if line.dashed else "-"
        axes.plot(
            EPSILONS, heights.mean(0), color=line.colour, linestyle=style, marker="o", markersize=3.5, clip_on=False
        )
        axes.fill_between(EPSILONS, heights.min(0), heights.max(0), color=line.colour, alpha=0.15, linewidth=0)
    axes.axhline(10, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)))
    axes.annotate("chance", (0, 10), (3, 2), textcoords="offset points", fontsize=7, color=GREY)
    ends = [100 * float(line.accuracy[:, -1].mean()) for line in lines]
    for line, end, height in zip(lines, ends, place_labels(ends, 1.3 * LABEL_GAP, 100) or ends, strict=True):
        label_line(axes, line.label, line.colour, (EPSILONS[-1], end), height)
    axes.set(xlim=(0, EPSILONS[-1]), ylim=(0, 100))
    axes.set_xlabel("ε (ℓ∞, pixels in [0, 1])", fontsize=8.5, color=GREY)
    axes.set_ylabel("accuracy (%)", fontsize=8.5, color=GREY)
    axes.set_title(title, fontsize=11, loc="left")
    seeds = len(lines[0].accuracy)
    caption(
        figure, [sentence, f"{IMAGES} digits; mean of {seeds} training seeds, bands from the lowest to the highest."]
    )
    return figure


def main(run: Path, out: Path) -> None:
    results = swept(run)
    figures = {
        "surrogates": draw_surrogates(results),
        "masking": draw_masking(run),
        "training": draw_training(results),
        "attack": draw_attacks(results),
    }
    for name, figure in figures.items():
        figure.savefig(out / f"looks-robust-{name}.png", dpi=120, metadata={"Software": None})
        print(out / f"looks-robust-{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a folder to keep the run in (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=PLACE, help="where the figures go (default: docs/img)")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        main(given.run or Path(folder) / "run", given.out)
