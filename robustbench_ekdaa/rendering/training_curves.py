"""Training loss and accuracy against the epoch: one line per model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.trainings import Trainings, held_out, read_trainings
from ..errors import UsageError
from ..names import as_spelled
from .fonts import plain_text, readable
from .labels import card_gap, card_label, card_legend, label_line, legend_height, place_labels
from .style import GREY, Look, caption, card_looks, clean_axes, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_training(
    trainings: Trainings | Path | str, *, dataset: str | None = None, styles: Mapping[str, Look] | None = None
) -> Figure:
    """Draw training loss and accuracy against the epoch, one line per model card.

    Both are means over an epoch's steps, while the weights move. Lines are means over training seeds; bands reach from
    the lowest to the highest seed.

    Args:
        trainings: a run folder, or what `analysis.trainings.read_trainings` read from one.
        dataset: which data set, when there are several.
        styles: the look of each card (default: as in a report of these cards alone).

    Raises:
        UsageError: when there is nothing to draw.
    """
    chosen, dataset = on_one_dataset(trainings, dataset)
    if chosen.epochs.empty:
        raise UsageError(f"{dataset}: no training log of this run can be read")
    frame = chosen.epochs.assign(percent=100 * chosen.epochs["accuracy"].astype(float))
    known = styles or card_looks(chosen.models.values())
    drawn = {name: look for name, look in known.items() if name in set(frame["model"])}
    figure = new_figure(9.2, max(3.7, legend_height(drawn)))
    loss, accuracy = figure.subplots(1, 2)
    for axes, column, title in (
        (loss, "loss", "Training loss (cross-entropy)"),
        (accuracy, "percent", "Training accuracy (%)"),
    ):
        for name, look in drawn.items():
            line_with_band(axes, frame[frame["model"] == name], column, look)
        clean_axes(axes)
        axes.set_title(title, fontsize=9.5, loc="left")
    plain_log_scale(loss, frame["loss"])
    accuracy.set_ylim(10 * (frame["percent"].min() // 10), 100)
    for axes in (loss, accuracy):
        epoch_axis(axes, frame["epoch"])
    _label(figure, accuracy, frame, drawn)
    heading = f"Training on {readable(chosen.title(dataset), dataset)}"
    plain_text([figure.suptitle(heading, fontsize=11, x=0.01, ha="left")])
    images = "the images that were not held out" if all(map(held_out, chosen.models.values())) else "training images"
    caption(
        figure,
        [f"Each point: mean over one epoch's steps, on {images}, while the weights move.", seeds_sentence(frame)],
    )
    return figure


def on_one_dataset(trainings: Trainings | Path | str, dataset: str | None) -> tuple[Trainings, str]:
    """Return the newest trainings on one data set, and its name; raises UsageError when it is not clear which."""
    whole = trainings if isinstance(trainings, Trainings) else read_trainings(trainings)
    known = whole.datasets
    dataset = None if dataset is None else as_spelled("data set", dataset, known)
    if dataset is None and len(known) > 1:
        raise UsageError(f"a figure shows one data set: say which (dataset=...): {', '.join(known)}")
    if not known or (dataset is not None and dataset not in known):
        raise UsageError(f"{dataset or 'this run'}: no model was trained here on it; there is {known or 'none'}")
    name = dataset or known[0]
    return whole.newest(name), name


def line_with_band(axes: Axes, part: pd.DataFrame, column: str, look: Look) -> None:
    """Draw the mean over seeds against the epoch, with a band from the lowest to the highest seed."""
    seeds = part.dropna(subset=[column]).groupby("epoch")[column]
    mean, low, high = seeds.mean(), seeds.min(), seeds.max()
    dashes = (0, tuple(1.4 * length for length in look.dashes)) if look.dashes else "-"
    axes.plot(
        mean.index,
        mean,
        color=look.colour,
        linestyle=dashes,
        linewidth=1.4,
        marker=look.marker,
        markersize=3.2,
        markeredgecolor="white",
        markeredgewidth=0.3,
        clip_on=False,
    )
    if part["seed"].nunique() > 1:
        axes.fill_between(low.index, low, high, color=look.colour, alpha=0.15, linewidth=0)


def seeds_sentence(frame: pd.DataFrame) -> str:
    """Say how lines and bands come from training seeds."""
    counts = frame.groupby("model")["seed"].nunique()
    if counts.max() == 1:
        return "One training seed: no band."
    few, many = counts.min(), counts.max()
    seeds = f"{many}" if few == many else f"{few} to {many}"
    return f"Lines: mean over {seeds} training seeds; bands reach from the lowest to the highest seed."


def epoch_axis(axes: Axes, epochs: pd.Series[int]) -> None:
    """Count epochs in whole numbers."""
    from matplotlib.ticker import MaxNLocator

    first, last = int(epochs.min()), int(epochs.max())
    if last > first:
        axes.set_xlim(first, last)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    else:
        axes.set_xlim(first - 0.5, first + 0.5)
        axes.set_xticks([first])
    axes.set_xlabel("epoch", fontsize=8.5, color=GREY)


def plain_log_scale(axes: Axes, values: pd.Series[float]) -> None:
    """Scale y by its logarithm, with plain numbers at its ticks; never so close that noise looks like a change."""
    from matplotlib.ticker import LogLocator, NullFormatter

    seen = values[values > 0].dropna()
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (1.0, 1.0)
    middle = (low * high) ** 0.5
    low, high = min(low, middle / 2) / 1.15, max(high, middle * 2) * 1.15
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def axis_height(axes: Axes, value: float) -> float:
    """Return where a value of the y axis is, in per cent of the panel's height."""
    _, height = (axes.transScale + axes.transLimits).transform((axes.get_xlim()[0], value))
    return 100 * float(height)


def _label(figure: Figure, axes: Axes, frame: pd.DataFrame, styles: dict[str, Look]) -> None:
    ends = {}
    for name in styles:
        mean = frame[frame["model"] == name].groupby("epoch")["percent"].mean()
        ends[name] = (float(mean.index[-1]), float(mean.iloc[-1]))
    placed = place_labels([axis_height(axes, value) for _, value in ends.values()], card_gap(styles))
    if placed is None:
        card_legend(figure, styles)
        return
    for (name, end), height in zip(ends.items(), placed, strict=True):
        label_line(axes, card_label(styles[name]), styles[name].colour, end, height)
