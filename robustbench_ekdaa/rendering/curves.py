"""Accuracy against epsilon: one panel per attack, one line per model card."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..analysis.intervals import wilson_interval
from ..analysis.results import WHITE_BOX, WORST_CASE, Results, curve_frame
from ..analysis.transfer import imported_attacks, noise_attacks, transfer_grids
from ..errors import UsageError
from ..storing.outcomes import Outcomes
from .fonts import plain_text, readable
from .labels import card_gap, card_label, card_legend, label_line, place_labels
from .style import GREY, NORM_SIGNS, Look, caption, clean_axes, looks, new_figure, one_dataset, shortened, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_curves(results: Results | Outcomes, *, dataset: str | None = None) -> Figure:
    """Draw accuracy under attack against epsilon.

    One panel per attack, transferred from other models, one for the worst case over the gradient attacks of a norm, and
    one for the same attacks on the target itself (white-box): a ranking by transfer has to agree with it. Lines are
    means over surrogates (as in `Results.summary`) and training seeds; bands reach from the lowest to the highest seed,
    and at least over Wilson's 95 % interval of the mean: seeds that agree do not make few images many.

    Args:
        results: what to draw.
        dataset: which data set, when the results hold several.

    Returns:
        a matplotlib figure; ``figure.savefig("curves.pdf")`` saves it.

    Raises:
        UsageError: when there is nothing to draw.
    """
    outcomes = one_dataset(results, dataset)
    frame = curve_frame(outcomes)
    panels = _panels(outcomes, frame)
    if not panels:
        raise UsageError(f"{outcomes.dataset}: there are no curves to draw: no other model attacked a trained model")
    styles = {name: look for name, look in looks(results).items() if name in set(frame["model"])}
    columns = min(len(panels), 3 if len(panels) <= 6 else 4)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(3.3 * columns + 1.2, 5.5), 2.75 * rows + 0.9)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        part = panel.rows(frame)
        _draw_panel(axes, part, styles, panel.title)
        _draw_bands(axes, part, styles, len(outcomes.labels))
        if place + columns >= len(panels):
            norm = NORM_SIGNS.get(panel.norm, panel.norm)
            axes.set_xlabel(f"ε ({norm}, pixels in [0, 1])", fontsize=8.5, color=GREY)
            axes.xaxis.label.set_visible(True)  # Matplotlib hides it above an empty place too
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel("accuracy (%)", fontsize=8.5, color=GREY)
    for axes in grid[len(panels) :]:
        axes.remove()
    _finish(figure, list(grid[: len(panels)]), outcomes, frame, panels, styles, columns)
    return figure


class _Panel(NamedTuple):
    """What one panel is about: an attack, or the worst case of a norm's attacks, by the names in `curve_frame`."""

    norm: str
    attack: str
    title: str

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return this panel's rows of `curve_frame`."""
        return frame[(frame["norm"] == self.norm) & (frame["attack"] == self.attack)]


def _panels(outcomes: Outcomes, frame: pd.DataFrame) -> list[_Panel]:
    """Return the panels: attacks, their worst case, attacks on the target itself, noise, imported images."""
    grids, titles = transfer_grids(outcomes), {record.name: title_of(record) for record in outcomes.attacks.values()}
    several = len({record.norm for record in outcomes.attacks.values()}) > 1
    panels = []
    for grid in grids:
        names = [outcomes.attacks[key].name for key in grid.counted_attacks]
        panels += [_Panel(grid.norm, name, titles[name]) for name in names]
        if len(names) > 1:
            panels.append(_Panel(grid.norm, WORST_CASE, f"Worst case of the {len(names)} attacks"))
        panels.append(_Panel(grid.norm, WHITE_BOX, "White-box: attacks on the model itself"))
    for key in (*noise_attacks(outcomes), *imported_attacks(outcomes)):
        record = outcomes.attacks[key]
        panels.append(_Panel(record.norm, record.name, title_of(record)))
    drawn = set(zip(frame["norm"], frame["attack"], strict=True))
    shown = [panel for panel in panels if (panel.norm, panel.attack) in drawn]
    return [_with_norm(panel) for panel in shown] if several else shown


def _with_norm(panel: _Panel) -> _Panel:
    """Name the norm in a panel's title; the titles of many cards name it already."""
    if panel.norm in panel.title.lower():
        return panel
    return panel._replace(title=f"{panel.title} ({NORM_SIGNS.get(panel.norm, panel.norm)})")


def _draw_panel(axes: Axes, part: pd.DataFrame, styles: dict[str, Look], title: str) -> None:
    import seaborn
    from matplotlib.ticker import MaxNLocator

    present = [name for name in styles if name in set(part["model"])]
    seaborn.lineplot(
        part.assign(percent=100 * part["accuracy"], model=part["model"].astype(object)),
        x="epsilon",
        y="percent",
        hue="model",
        style="model",
        hue_order=present,
        style_order=present,
        palette={name: styles[name].colour for name in present},
        dashes={name: styles[name].dashes for name in present},
        markers={name: styles[name].marker for name in present},
        markersize=4,
        markeredgewidth=0.3,
        linewidth=1.4,
        clip_on=False,
        errorbar=None,
        legend=False,
        ax=axes,
    )
    clean_axes(axes)
    plain_text([axes.set_title(shortened(title, 44), fontsize=9.5, loc="left")])
    axes.set(xlabel="", ylabel="", ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda epsilon, _: f"{epsilon:g}")


def _draw_bands(axes: Axes, part: pd.DataFrame, styles: dict[str, Look], images: int) -> None:
    """Draw from the lowest to the highest seed, and no narrower than what so many images can tell."""
    alpha = 0.18 if part["model"].nunique() <= 5 else 0.08
    for name, own in part.groupby("model", sort=False):
        heights = own.groupby("epsilon")["accuracy"].agg(["min", "max", "mean"])
        low, high = wilson_interval(heights["mean"] * images, images)
        axes.fill_between(
            heights.index,
            100 * np.minimum(low, heights["min"]),
            100 * np.maximum(high, heights["max"]),
            color=styles[str(name)].colour,
            alpha=alpha,
            linewidth=0,
            clip_on=False,
        )


def _finish(
    figure: Figure,
    grid: list[Axes],
    outcomes: Outcomes,
    frame: pd.DataFrame,
    panels: list[_Panel],
    styles: dict[str, Look],
    columns: int,
) -> None:
    """Add chance level, labels of the lines, the figure's title and its caption."""
    largest = float(frame["epsilon"].max())
    chance = 100 / len(outcomes.classes)
    for axes in grid:
        axes.set_xlim(0, largest)
        axes.axhline(chance, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
    grid[0].annotate("chance", (0, chance), (3, 2), textcoords="offset points", fontsize=7, color=GREY)
    last_in_row = [place for place in range(len(panels)) if place % columns == columns - 1 or place == len(panels) - 1]
    ends = {place: _line_ends(frame, panels[place], styles) for place in last_in_row}
    placed = {place: place_labels(list(points.values()), card_gap(styles)) for place, points in ends.items()}
    if len(styles) > 1 and all(heights is not None for heights in placed.values()):
        for place, heights in placed.items():
            for name, height in zip(ends[place], heights or (), strict=True):
                end = largest, ends[place][name]
                label_line(grid[place], card_label(styles[name]), styles[name].colour, end, height)
    else:
        card_legend(figure, styles)
    heading = f"Accuracy under attack: {readable(outcomes.title, outcomes.dataset)}"
    title = figure.suptitle(heading, fontsize=11, x=0.01, ha="left")
    plain_text([title])
    several = frame.groupby("model")["seed"].nunique().max() > 1
    band = (
        "bands reach from the lowest to the highest training seed, and at least over Wilson's 95 % interval over images"
        if several
        else "one training seed: bands are Wilson's 95 % interval over images"
    )
    same_start = any(grid.counts_same_start for grid in transfer_grids(outcomes))
    own = any(panel.attack == WHITE_BOX for panel in panels)
    from_files, together = imported_attacks(outcomes), any(grid.ensembles for grid in transfer_grids(outcomes))
    others = "none is the target itself" + ("" if same_start else " or started from its weights")
    caption(
        figure,
        [
            f"Lines: mean over surrogates (each surrogate's model card weighs the same; {others}) and training seeds; "
            f"{band}.",
            f"Dotted: chance, {chance:.3g} %. {len(outcomes.labels)} test images.",
            *(["White-box: before and under all gradient attacks on the target itself."] * own),
            *(["Worst case: of the attacks on a surrogate and on ensembles that hold it, not the target."] * together),
            *(["Imported images are the same for all targets, and in no worst case."] if from_files else []),
        ],
    )


def _line_ends(frame: pd.DataFrame, panel: _Panel, styles: dict[str, Look]) -> dict[str, float]:
    """Return where each card's line ends, in per cent."""
    part = panel.rows(frame)
    last = part[part["epsilon"] == part["epsilon"].max()].groupby("model")["accuracy"].mean()
    return {name: 100 * float(last[name]) for name in styles if name in last}
