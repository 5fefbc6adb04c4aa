"""The transfer matrix: every target's accuracy on the images crafted on every surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.intervals import wilson_interval
from ..analysis.metrics import Bools, Floats
from ..analysis.results import Results
from ..analysis.summary import chosen_epsilon
from ..analysis.transfer import TransferGrid, transfer_grids
from ..errors import UsageError, unknown_name
from ..names import as_spelled
from ..storing.outcomes import Outcomes
from .fonts import plain_text, readable
from .style import GREY, NORM_SIGNS, Look, caption, looks, new_figure, one_dataset, shortened, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MOST_ANNOTATED = 14  # rows or columns up to which every cell shows its number
MOST_SEED_LABELS = 40  # rows or columns up to which each shows its seed

LETTERS = 6  # characters of a label that are as wide as one cell


def plot_transfer_matrix(
    results: Results | Outcomes,
    *,
    attack: str | None = None,
    epsilon: float | None = None,
    norm: str | None = None,
    dataset: str | None = None,
) -> Figure:
    """Draw accuracy as a heat map, surrogates down and targets across, grouped by model card.

    White-box cells (a model attacked on itself, alone or in an ensemble) are framed. Ensembles come last: a row's worst
    case is over the attacks crafted on it, which for an ensemble are the ensemble attacks.

    Args:
        results: what to draw.
        attack: an attack's name; default the worst case, image by image, over all gradient attacks of the norm.
        epsilon: the perturbation size (default: the one that the sweep declares as `verdict_epsilon`, else the one
            nearest to half of the largest).
        norm: for the worst case, which norm's attacks (default: the first there is).
        dataset: which data set, when the results hold several.

    Raises:
        UsageError: for an attack, norm or epsilon that was not scored.
    """
    outcomes = one_dataset(results, dataset)
    grid, key = _find(outcomes, attack, norm)
    epsilon = finished_epsilon(grid, epsilon)
    scored = grid.scored if key is None else grid.scored_under(key)
    accuracy = 100 * np.where(scored, grid.right(epsilon, key).mean(-1), np.nan)
    rows, columns = accuracy.shape
    # However few the cells: title, caption and labels take their room, and something must be left for the cells.
    figure = new_figure(min(max(2.9 + 0.52 * columns, 5), 12), min(max(2.3 + 0.42 * rows, 3.6), 11))
    axes = figure.subplots()
    _draw(axes, accuracy)
    _mark(axes, grid, grid.white_box & scored)
    styles = looks(results)
    _name_groups(axes, grid, styles)
    if key is None:
        many = len(grid.attacks)
        worst = "worst case of each row's attacks" if grid.ensembles else f"worst case of {many} attacks"
        what = worst if many > 1 else title_of(outcomes.attacks[grid.attacks[0]])
    else:
        what = title_of(outcomes.attacks[key])
    where = readable(outcomes.title, outcomes.dataset)
    title = f"{where}: {what}, ε = {epsilon:g} ({NORM_SIGNS.get(grid.norm, grid.norm)})"
    text = figure.suptitle(shortened(title, int(figure.get_figwidth() * 11)), fontsize=10.5, x=0.01, ha="left")
    plain_text([text])
    caption(
        figure,
        [
            "Accuracy of each target (column) on images crafted on each surrogate (row), in per cent.",
            cell_precision(len(outcomes.labels)),
            "Framed: white-box." + (" Ensembles, last, have attacks of their own." if grid.ensembles else ""),
        ],
    )
    return figure


def cell_precision(images: int) -> str:
    """Say how well so many images tell one cell's share: half the width of Wilson's interval where it is widest."""
    low, high = wilson_interval(images / 2, images)
    return f"{images} images: each known to ±{50 * float(high - low):.1f} or better (95 %)."


def finished_epsilon(grid: TransferGrid, epsilon: float | None) -> float:
    """Return the epsilon to draw; raises UsageError when none has all attacks yet."""
    chosen = chosen_epsilon(grid, epsilon)
    if not chosen > 0:
        raise UsageError(f"{grid.outcomes.dataset}: no epsilon has all attacks yet. Run the sweep again to finish it.")
    return chosen


def _find(outcomes: Outcomes, attack: str | None, norm: str | None) -> tuple[TransferGrid, str | None]:
    """Return the grid that holds an attack or a norm, and the attack's key."""
    grids = [grid for grid in transfer_grids(outcomes) if grid.attacks]
    if not grids:
        raise UsageError(f"{outcomes.dataset}: no gradient attack was scored. Sweep with one, such as --attacks fgsm.")
    if attack is None:
        norms = {grid.norm: grid for grid in grids}
        if norm is not None and norm not in norms:
            raise unknown_name("norm", norm, norms)
        return (norms[norm] if norm else grids[0]), None
    names = {outcomes.attacks[key].name: (grid, key) for grid in grids for key in grid.attacks}
    attack = as_spelled("attack", attack, names)
    if attack not in names:
        raise unknown_name("attack with a surrogate in these results", attack, names)
    return names[attack]


def _draw(axes: Axes, accuracy: Floats) -> None:
    import seaborn

    seaborn.heatmap(
        accuracy,
        vmin=0,
        vmax=100,
        cmap="viridis",
        annot=max(accuracy.shape) <= MOST_ANNOTATED,
        fmt=".0f",
        annot_kws={"fontsize": 8},
        linewidths=0,
        cbar_kws={"label": "accuracy (%)", "fraction": 0.05, "pad": 0.02},
        xticklabels=False,
        yticklabels=False,
        ax=axes,
    )
    bar = axes.collections[0].colorbar
    assert bar is not None
    bar.ax.tick_params(labelsize=8, colors=GREY)
    bar.ax.yaxis.label.set(fontsize=8.5, color=GREY)
    bar.outline.set_visible(False)
    axes.set_facecolor("#eeeeee")


def _mark(axes: Axes, grid: TransferGrid, white_box: Bools) -> None:
    """Frame the white-box cells and part the cards."""
    from matplotlib.patches import Rectangle

    for i, j in np.argwhere(white_box):
        inset = 0.05
        size = 1 - 2 * inset
        frame = Rectangle((j + inset, i + inset), size, size, fill=False, edgecolor="#d7191c", linewidth=1.6)
        axes.add_patch(frame)
    for edge in _edges(grid, grid.surrogates)[1:-1]:
        axes.axhline(edge, color="white", linewidth=2.5)
    for edge in _edges(grid, grid.targets)[1:-1]:
        axes.axvline(edge, color="white", linewidth=2.5)


def _edges(grid: TransferGrid, keys: Sequence[str]) -> list[int]:
    """Return where one card's rows end and the next one's begin, with both ends."""
    names = [grid.outcomes.record(key).name for key in keys]
    inner = [place for place in range(1, len(names)) if names[place] != names[place - 1]]
    return [0, *inner, len(names)]


def _name_groups(axes: Axes, grid: TransferGrid, styles: dict[str, Look]) -> None:
    """Label the seeds at the cells and the cards beside them."""
    record = grid.outcomes.record
    for axis, keys, role in ((axes.yaxis, grid.surrogates, "crafted on"), (axes.xaxis, grid.targets, "scored on")):
        across = axis is axes.xaxis
        seeds = [str(record(key).seed) if len(keys) <= MOST_SEED_LABELS else "" for key in keys]
        axis.set_ticks([place + 0.5 for place in range(len(keys))], seeds, fontsize=7.5, color=GREY)
        axis.set_tick_params(length=0, rotation=0)
        edges = _edges(grid, keys)
        narrow = min(high - low for low, high in pairwise(edges)) < 2 or len(edges) > 7
        width = 22 if narrow or not across else None
        beside = axes.secondary_xaxis(0) if across else axes.secondary_yaxis(0)
        _name_cards(beside.xaxis if across else beside.yaxis, grid, keys, styles, width)
        beside.tick_params(length=0, pad=14, rotation=90 if across and narrow else 0)
        beside.spines[:].set_visible(False)
        (beside.set_xlabel if across else beside.set_ylabel)(f"{role} (card, seed)", fontsize=8.5, color=GREY)
    axes.set(xlabel="", ylabel="")


def _name_cards(
    axis: Axis,
    grid: TransferGrid,
    keys: Sequence[str],
    styles: dict[str, Look],
    width: int | None,
    lines: int = 2,
) -> None:
    """Write each card's label, in its colour, at the middle of its rows or columns.

    Labels are `width` characters wide, or as wide as the card's columns.
    """
    edges = _edges(grid, keys)
    shown = [_look(grid, keys[edge], styles) for edge in edges[:-1]]
    widths = [width or LETTERS * (high - low) for low, high in pairwise(edges)]
    labels = [shortened(look.label, letters, lines) for look, letters in zip(shown, widths, strict=True)]
    axis.set_ticks([(low + high) / 2 for low, high in pairwise(edges)], labels, fontsize=8.5)
    plain_text(axis.get_ticklabels())
    for tick, look in zip(axis.get_ticklabels(), shown, strict=True):
        tick.set_color(look.colour)


def _look(grid: TransferGrid, key: str, styles: dict[str, Look]) -> Look:
    """Return how a card is drawn, or an ensemble of several: in grey, for it has no colour of its own."""
    if key in grid.outcomes.ensembles:
        ensemble = grid.outcomes.ensembles[key]
        return Look(f"Ensemble of {len(ensemble.members)}: {title_of(ensemble)}", GREY, "", "")
    return styles[grid.outcomes.models[key].name]


def plot_attack_matrices(
    results: Results | Outcomes, *, epsilon: float | None = None, norm: str | None = None, dataset: str | None = None
) -> Figure:
    """Draw the transfer matrix of every gradient attack of one norm, small and side by side.

    Args:
        results: what to draw.
        epsilon: the perturbation size (default: the one that the sweep declares as `verdict_epsilon`, else the one
            nearest to half of the largest).
        norm: which norm's attacks (default: the first there is).
        dataset: which data set, when the results hold several.

    Raises:
        UsageError: for a norm or epsilon that was not scored.
    """
    outcomes = one_dataset(results, dataset)
    grid, _ = _find(outcomes, None, norm)
    epsilon = finished_epsilon(grid, epsilon)
    columns = min(len(grid.attacks), 4)
    rows = -(-len(grid.attacks) // columns)
    tall = len(grid.surrogates) / len(grid.targets)
    figure = new_figure(2.6 * columns + 2.4, 2.6 * rows * min(max(tall, 0.3), 2) + 2.2)
    figure.set_layout_engine("constrained", h_pad=0.1)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    lines = 2 if len(grid.cards) <= 6 else 1
    styles = looks(results)
    for place, (axes, key) in enumerate(zip(panels, grid.attacks, strict=False)):
        _draw_small(axes, grid, 100 * np.where(grid.scored_under(key), grid.right(epsilon, key).mean(-1), np.nan))
        plain_text([axes.set_title(shortened(title_of(outcomes.attacks[key]), 30), fontsize=9.5, loc="left")])
        axes.set(xticks=[], yticks=[])
        if place % columns == 0:
            _name_cards(axes.yaxis, grid, grid.surrogates, styles, 22, lines)
        if place + columns >= len(grid.attacks):
            _name_cards(axes.xaxis, grid, grid.targets, styles, 22, lines)
            axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
    for axes in panels[len(grid.attacks) :]:
        axes.remove()
    shown = list(panels[: len(grid.attacks)])
    figure.colorbar(shown[0].images[0], ax=shown, fraction=0.03, pad=0.02, shrink=0.7, label="accuracy (%)")
    where = readable(outcomes.title, outcomes.dataset)
    title = f"{where}: every attack, ε = {epsilon:g} ({NORM_SIGNS.get(grid.norm, grid.norm)})"
    plain_text([figure.suptitle(shortened(title, int(figure.get_figwidth() * 11)), fontsize=10.5, x=0.01, ha="left")])
    caption(
        figure,
        [
            "Accuracy of each target (column) on images crafted on each surrogate (row), in per cent;",
            "one row and column per training seed. Dots: white-box."
            + (" Grey: the attack was not crafted on these." if grid.ensembles else ""),
            cell_precision(len(outcomes.labels)),
        ],
    )
    return figure


def _draw_small(axes: Axes, grid: TransferGrid, accuracy: Floats) -> None:
    rows, columns = accuracy.shape
    axes.imshow(accuracy, vmin=0, vmax=100, cmap="viridis", interpolation="nearest", extent=(0, columns, rows, 0))
    axes.set_facecolor("#eeeeee")
    axes.spines[:].set_visible(False)
    for edge in _edges(grid, grid.surrogates)[1:-1]:
        axes.axhline(edge, color="white", linewidth=1.2)
    for edge in _edges(grid, grid.targets)[1:-1]:
        axes.axvline(edge, color="white", linewidth=1.2)
    own = [(j + 0.5, i + 0.5) for i, j in np.argwhere(grid.white_box & ~np.isnan(accuracy))]
    axes.plot(*zip(*own, strict=True) if own else ((), ()), ".", color="#d7191c", markersize=3)
