"""Who is fooled by whom: what each target card keeps of each surrogate card's attacks, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.fooled import ALL_CARDS, CARD, FOREIGN_CARD, ITSELF, FooledRow, fooled_rows
from ..analysis.results import Results
from ..analysis.standing import NOT_RANKED, RANKED
from ..errors import UsageError, unknown_name
from ..names import folded
from ..storing.outcomes import Outcomes
from .fonts import plain_text, readable
from .style import GREY, NORM_SIGNS, Look, caption, looks, new_figure, one_dataset, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CellRow = Sequence[FooledRow]  # a line of cells: one place that attacks come from, all targets
CellPanels = dict[str, Sequence[CellRow]]  # by title

SOURCE_PANELS = {
    "images crafted on": (CARD,),
    "images crafted on foreign cards, of architectures that no target has": (FOREIGN_CARD,),
    "together": (ALL_CARDS, ITSELF),
}
TOGETHER_LABELS = {ALL_CARDS: "mean over these cards", ITSELF: "on itself (white-box)"}
MOST_WITH_INTERVALS = 20  # columns up to which every cell shows its interval
LABEL_WIDTH = 24  # characters of a card's label
LETTERS_PER_INCH = 13  # of such a label
LEAST_WIDTH = 4.2  # inches of all columns together, so that titles and caption have room
DARK_BELOW = 60  # per cent; the colours of less are dark


def plot_who_is_fooled(
    results: Results | Outcomes, *, epsilon: float | None = None, norm: str | None = None, dataset: str | None = None
) -> Figure:
    """Draw what each target card keeps of each surrogate card's attacks, as a heat map with intervals.

    Surrogate cards stand down, foreign ones apart, and below them their mean and white-box accuracy; targets across.
    The numbers are those of `Results.who_is_fooled`.

    Args:
        results: what to draw.
        epsilon: the perturbation size (default: the one that the sweep declares as `verdict_epsilon`, else the one
            nearest to half of the largest).
        norm: which norm's attacks (default: the first there is).
        dataset: which data set, when the results hold several.

    Raises:
        UsageError: for a norm or epsilon that was not scored, and when no model was attacked.
    """
    outcomes = one_dataset(results, dataset)
    panels, styles = _panels(_chosen(outcomes, epsilon, norm)), looks(results)
    lines = [line for part in panels.values() for line in part]
    targets, height = len(lines[0]), 0.42 * len(lines) + 0.3 * len(panels)
    figure = new_figure(3.2 + targets * _cell_width(targets), height + (2.9 if _cell_width(targets) < 1 else 1.7))
    drawn = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[*map(len, panels.values())]).ravel()
    for axes, (title, part) in zip(drawn, panels.items(), strict=True):
        _draw(axes, part, styles, with_intervals=targets <= MOST_WITH_INTERVALS)
        axes.set_title(title, fontsize=8.5, loc="left", color=GREY)
    _name_targets(drawn[-1], lines[0], styles)
    bar = figure.colorbar(drawn[0].images[0], ax=list(drawn), fraction=0.04, pad=0.02, aspect=30)
    bar.set_label("accuracy (%)", fontsize=8.5, color=GREY)
    bar.ax.tick_params(labelsize=8, colors=GREY)
    bar.outline.set_visible(False)
    row, norm_sign = lines[0][0], NORM_SIGNS.get(lines[0][0].norm, lines[0][0].norm)
    where = readable(outcomes.title, outcomes.dataset)
    title = f"{where}: who is fooled by whom, ε = {row.epsilon:g} ({norm_sign})"
    plain_text([figure.suptitle(shortened(title, int(figure.get_figwidth() * 11)), fontsize=10.5, x=0.01, ha="left")])
    caption(figure, [*_sentences(lines, styles)])
    return figure


def _cell_width(targets: int) -> float:
    """Return a cell's width in inches."""
    return max(0.62 if targets <= MOST_WITH_INTERVALS else 0.34, LEAST_WIDTH / targets)


def _chosen(outcomes: Outcomes, epsilon: float | None, norm: str | None) -> list[FooledRow]:
    """Return the rows of one norm."""
    rows = fooled_rows(outcomes, epsilon)
    norms = list(dict.fromkeys(row.norm for row in rows if row.n_seeds))
    if not norms:
        raise UsageError(f"{outcomes.dataset}: no epsilon has all attacks yet, or no gradient attack was scored.")
    if norm is not None and norm not in norms:
        raise unknown_name("norm", norm, norms)
    return [row for row in rows if row.norm == (norm or norms[0])]


def _panels(rows: Sequence[FooledRow]) -> CellPanels:
    """Return the lines of cells by panel; panels without any are left out."""
    lines: dict[tuple[str, str | None], list[FooledRow]] = {}
    for row in rows:
        lines.setdefault((row.attacks_from, row.surrogate), []).append(row)
    shown: CellPanels = {
        title: [line for (source, _), line in lines.items() if source in sources]
        for title, sources in SOURCE_PANELS.items()
    }
    return {title: part for title, part in shown.items() if part}


def _draw(axes: Axes, part: Sequence[CellRow], styles: dict[str, Look], *, with_intervals: bool) -> None:
    from matplotlib.patches import Rectangle

    shares = 100 * np.array([[row.accuracy for row in line] for line in part])
    axes.imshow(shares, vmin=0, vmax=100, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_facecolor("#eeeeee")
    axes.spines[:].set_visible(False)
    axes.set(xticks=[])
    axes.set_yticks(range(len(part)), [_source(line[0], styles) for line in part], fontsize=8.5)
    plain_text(axes.get_yticklabels())
    for tick, line in zip(axes.get_yticklabels(), part, strict=True):
        tick.set_color(styles[line[0].surrogate].colour if line[0].surrogate else GREY)
    axes.tick_params(length=0)
    for edge in range(1, len(part)):
        axes.axhline(edge - 0.5, color="white", linewidth=1)
    for edge in range(1, len(part[0])):
        axes.axvline(edge - 0.5, color="white", linewidth=1)
    for (i, j), share in np.ndenumerate(shares):
        _write(axes, (j, i), part[i][j], share, with_intervals)
        if _of_its_rule(part[i][j]) and part[i][j].n_seeds:
            frame = Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, edgecolor="#d7191c", linewidth=1.4)
            frame.set_linestyle((0, (3, 1.5)))
            axes.add_patch(frame)


def _write(axes: Axes, place: tuple[int, int], row: FooledRow, share: float, with_interval: bool) -> None:
    """Write a cell's share, and its interval below it."""
    if np.isnan(share):
        return
    colour, (x, y) = "white" if share < DARK_BELOW else "#1c1c1e", place
    if not with_interval:
        axes.text(x, y, f"{share:.0f}", fontsize=9, ha="center", va="center", color=colour)
        return
    ends = f"{100 * row.accuracy_low:.0f}–{100 * row.accuracy_high:.0f}"
    axes.text(x, y - 0.03, f"{share:.0f}", fontsize=9, ha="center", va="bottom", color=colour)
    axes.text(x, y + 0.06, ends, fontsize=7, ha="center", va="top", color=colour)


def _of_its_rule(row: FooledRow) -> bool:
    return row.surrogate_rule is not None and folded(row.surrogate_rule) == folded(row.target_rule)


def _source(row: FooledRow, styles: dict[str, Look]) -> str:
    """Return what a line's attacks are crafted on, as its label."""
    label = styles[row.surrogate].label if row.surrogate else TOGETHER_LABELS[row.attacks_from]
    return shortened(label, LABEL_WIDTH)


def _name_targets(axes: Axes, line: CellRow, styles: dict[str, Look]) -> None:
    """Write the targets' titles below their columns, with their standing where they are not ranked."""
    room = _cell_width(len(line))
    width = int(LETTERS_PER_INCH * room) if room >= 1 else LABEL_WIDTH
    labels = [
        shortened(styles[row.target].label, width) + ("" if row.standing == RANKED else f"\n({row.standing})")
        for row in line
    ]
    axes.set_xticks(range(len(line)), labels, fontsize=8.5, rotation=0 if room >= 1 else 90)
    plain_text(axes.get_xticklabels())
    for tick, row in zip(axes.get_xticklabels(), line, strict=True):
        tick.set_color(styles[row.target].colour)


def _sentences(lines: Sequence[CellRow], styles: dict[str, Look]) -> Iterator[str]:
    """Yield the caption."""
    rows = [row for line in lines for row in line]
    scored = [row for row in rows if row.n_seeds]
    yield (
        "Accuracy in per cent of each target card (column) before and under all gradient attacks crafted on each "
        "surrogate card (row), worst case per image; mean over pairs of models, of which none is the other or another "
        "epoch of its training."
    )
    if len(lines[0]) <= MOST_WITH_INTERVALS:
        yield "Small: its 95 % interval over images and training seeds."
    if any(_of_its_rule(row) for row in scored):
        yield "Dashed: surrogates of the target's own learning rule."
    yield "The mean weighs all cards alike: it depends on which there are."
    if not any(row.attacks_from == FOREIGN_CARD for row in scored):
        yield "No surrogate is foreign."
    if len(scored) < len(rows):
        yield "Grey: not attacked."
    weak = [styles[row.target].label for row in lines[0] if row.standing == NOT_RANKED]
    if weak:
        yield f"Not ranked, because not shown to beat chance and the frozen control: {', '.join(weak)}."
    counts = sorted(row.n_seeds for row in scored)
    fewest, most = counts[0], counts[-1]
    seeds = f"{most} training seed{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} training seeds"
    alone = "; of one seed, intervals are over images alone" if fewest < 2 else ""
    yield f"{scored[0].n_images} images, {seeds} a target{alone}."
