"""Accuracy against epsilon: one panel per attack, one line per model card."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..analysis.results import WORST_CASE, Results, curve_frame
from ..analysis.transfer import imported_attacks, noise_attacks, transfer_grids
from ..errors import UsageError
from ..scoring.outcomes import Outcomes
from .style import GREY, NORMS, Look, caption, clean_axes, looks, new_figure, one_dataset, plain_text, shortened

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_WIDTH = 20  # characters of a line's label
LABEL_GAP = 6.2  # per cent of accuracy that one line of label text is high
LONGEST_SHIFT = 14.0  # per cent that a label may stand away from its line's end


def plot_curves(results: Results | Outcomes, *, dataset: str | None = None) -> Figure:
    """Draw accuracy under transfer attacks against epsilon.

    One panel per attack, and one for the worst case over the gradient attacks of a norm. Lines are means over
    surrogates (as in `Results.summary`) and training seeds; bands reach from the lowest to the highest seed.

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
    for place, (axes, (norm, attack, title)) in enumerate(zip(grid, panels, strict=False)):
        part = frame[(frame["norm"] == norm) & (frame["attack"] == attack)]
        _draw_panel(axes, part, styles, title)
        if place + columns >= len(panels):
            axes.set_xlabel(f"ε ({NORMS.get(norm, norm)}, pixels in [0, 1])", fontsize=8.5, color=GREY)
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel("accuracy (%)", fontsize=8.5, color=GREY)
    for axes in grid[len(panels) :]:
        axes.remove()
    _finish(figure, list(grid[: len(panels)]), outcomes, frame, panels, styles, columns)
    return figure


def _panels(outcomes: Outcomes, frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return (norm, attack, title) of the panels: attacks, their worst case, noise, imported images."""
    grids, titles = transfer_grids(outcomes), {record.name: record.title for record in outcomes.attacks.values()}
    several = len({record.norm for record in outcomes.attacks.values()}) > 1
    panels = []
    for grid in grids:
        names = [outcomes.attacks[key].name for key in grid.counted_attacks]
        panels += [(grid.norm, name, titles[name] or name) for name in names]
        if len(names) > 1:
            panels.append((grid.norm, WORST_CASE, f"Worst case of the {len(names)} attacks"))
    for key in (*noise_attacks(outcomes), *imported_attacks(outcomes)):
        record = outcomes.attacks[key]
        panels.append((record.norm, record.name, record.title or record.name))
    drawn = set(zip(frame["norm"], frame["attack"], strict=True))
    marked = [
        # Many a card's title tells its norm already.
        (norm, name, f"{title} ({NORMS.get(norm, norm)})" if several and norm not in title.lower() else title)
        for norm, name, title in panels
    ]
    return [panel for panel in marked if panel[:2] in drawn]


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
        errorbar=("pi", 100),
        err_kws={"alpha": 0.18 if len(present) <= 5 else 0.08, "linewidth": 0},
        legend=False,
        ax=axes,
    )
    clean_axes(axes)
    plain_text([axes.set_title(shortened(title, 44), fontsize=9.5, loc="left")])
    axes.set(xlabel="", ylabel="", ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:g}")


def _finish(
    figure: Figure,
    grid: list[Axes],
    outcomes: Outcomes,
    frame: pd.DataFrame,
    panels: list[tuple[str, str, str]],
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
    placed = {place: place_labels(list(points.values()), _gap(styles)) for place, points in ends.items()}
    if len(styles) > 1 and all(heights is not None for heights in placed.values()):
        for place, heights in placed.items():
            for name, height in zip(ends[place], heights or (), strict=True):
                _label_line(grid[place], styles[name], largest, ends[place][name], height)
    else:
        _legend(figure, styles)
    title = figure.suptitle(f"Accuracy under transfer attacks: {outcomes.title}", fontsize=11, x=0.01, ha="left")
    plain_text([title])
    seeds = frame.groupby("model")["seed"].nunique()
    band = (
        "bands reach from the lowest to the highest training seed" if seeds.max() > 1 else "one training seed: no band"
    )
    same_start = any(grid.counts_same_start for grid in transfer_grids(outcomes))
    from_files, together = imported_attacks(outcomes), any(grid.ensembles for grid in transfer_grids(outcomes))
    others = "none is the target itself" + ("" if same_start else " or started from its weights")
    caption(
        figure,
        [
            f"Lines: mean over surrogates (each surrogate's model card weighs the same; {others}) and training seeds; "
            f"{band}.",
            f"Dotted: chance, {chance:.3g} %. {len(outcomes.labels)} test images.",
            *(["Worst case: of the attacks on a surrogate and on ensembles that hold it, not the target."] * together),
            *(["Imported images are the same for all targets, and in no worst case."] if from_files else []),
        ],
    )


def _gap(styles: dict[str, Look]) -> float:
    lines = max(shortened(look.label, LABEL_WIDTH).count("\n") + 1 for look in styles.values())
    return LABEL_GAP * (1 if lines == 1 else 1.75)


def _line_ends(frame: pd.DataFrame, panel: tuple[str, str, str], styles: dict[str, Look]) -> dict[str, float]:
    """Return where each card's line ends, in per cent."""
    part = frame[(frame["norm"] == panel[0]) & (frame["attack"] == panel[1])]
    last = part[part["epsilon"] == part["epsilon"].max()].groupby("model")["accuracy"].mean()
    return {name: 100 * float(last[name]) for name in styles if name in last}


def place_labels(heights: list[float], gap: float) -> list[float] | None:
    """Move labels apart so that none overlaps: as little as needed, inside [0, 100].

    Returns:
        a height for each, in the order given; None if one would stand too far from its line to be read as its label.
    """
    order = sorted(range(len(heights)), key=lambda place: (heights[place], place))
    if gap * len(order) > 100:
        return None
    spot = [0.0] * len(order)
    below = -math.inf
    for rank, place in enumerate(order):
        spot[rank] = max(heights[place], below + gap, gap / 2)
        below = spot[rank]
    above = 100 + gap / 2
    for rank in reversed(range(len(order))):
        spot[rank] = min(spot[rank], above - gap)
        above = spot[rank]
    # Both passes push only one way; a cluster is centred by moving it half way back where there is room.
    _centre_clusters(spot, [heights[place] for place in order], gap)
    placed = [0.0] * len(order)
    for rank, place in enumerate(order):
        placed[place] = spot[rank]
    moved = max((abs(a - b) for a, b in zip(placed, heights, strict=True)), default=0.0)
    return placed if moved <= max(LONGEST_SHIFT, gap) else None


def _centre_clusters(spot: list[float], wanted: list[float], gap: float) -> None:
    start = 0
    while start < len(spot):
        stop = start + 1
        while stop < len(spot) and spot[stop] - spot[stop - 1] <= gap + 1e-9:
            stop += 1
        shift = sum(wanted[i] - spot[i] for i in range(start, stop)) / (stop - start)
        floor = spot[start - 1] + gap if start else gap / 2
        ceiling = spot[stop] - gap if stop < len(spot) else 100 - gap / 2
        shift = max(shift, floor - spot[start]) if shift < 0 else max(0.0, min(shift, ceiling - spot[stop - 1]))
        for rank in range(start, stop):
            spot[rank] += shift
        start = stop


def _label_line(axes: Axes, look: Look, largest: float, end: float, height: float) -> None:
    text = axes.annotate(
        shortened(look.label, LABEL_WIDTH),
        xy=(largest, end),
        xytext=(1.06, height / 100),
        textcoords="axes fraction",
        color=look.colour,
        fontsize=8.5,
        va="center",
        linespacing=0.95,
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": look.colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 1},
    )
    plain_text([text])


def _legend(figure: Figure, styles: dict[str, Look]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for look in styles.values():
        dashes: Any = (0, tuple(1.4 * part for part in look.dashes)) if look.dashes else "-"
        handles.append(
            Line2D([], [], color=look.colour, linestyle=dashes, linewidth=1.4, marker=look.marker, markersize=4)
        )
    labels = [shortened(look.label, 24) for look in styles.values()]
    legend = figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8.5, labelspacing=0.7)
    plain_text(legend.get_texts())
