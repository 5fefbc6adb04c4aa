"""Labels at the ends of lines, where they fit, and the legend of model cards where they do not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .fonts import plain_text
from .style import Look, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CARD_WIDTH, LEGEND_WIDTH = 20, 24  # characters of a card's label beside its line, and in a legend
# In per cent of a panel's height:
LABEL_GAP = 6.2  # one line of label text
LONGEST_SHIFT = 14.0  # how far a label may stand from its line's end to be read as its label without a second look


def place_labels(heights: list[float], gap: float, longest: float = LONGEST_SHIFT) -> list[float] | None:
    """Move labels apart so that none overlaps: as little as needed, inside [0, 100].

    Args:
        heights: where the lines end.
        gap: how far apart labels must be.
        longest: how far a label may stand from its line's end.

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
    return placed if moved <= max(longest, gap) else None


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


def label_line(axes: Axes, label: str, colour: str, end: tuple[float, float], height: float) -> None:
    """Write a label right of a panel, at a height in per cent of it, with a thin lead to its line's end."""
    text = axes.annotate(
        label,
        xy=end,
        xytext=(1.06, height / 100),
        textcoords="axes fraction",
        color=colour,
        fontsize=8.5,
        va="center",
        linespacing=0.95,
        annotation_clip=False,
        # The lead meets the label at its left edge, so that it crosses no other label.
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.6,
            "shrinkA": 1,
            "shrinkB": 1,
            "relpos": (0, 0.5),
        },
    )
    plain_text([text])


def card_label(look: Look) -> str:
    """Return a model card's title as the label of its line."""
    return shortened(look.label, CARD_WIDTH)


def card_gap(styles: dict[str, Look]) -> float:
    """Return how far apart cards' labels must be."""
    lines = max(card_label(look).count("\n") + 1 for look in styles.values())
    return LABEL_GAP * (1 if lines == 1 else 1.75)


def legend_height(styles: dict[str, Look]) -> float:
    """Return how high a figure must be, in inches, for `card_legend` to fit beside it."""
    labels = [shortened(look.label, LEGEND_WIDTH) for look in styles.values()]
    return 0.3 + sum(0.085 + 0.145 * (label.count("\n") + 1) for label in labels)


def card_legend(figure: Figure, styles: dict[str, Look]) -> None:
    """List the model cards beside a figure."""
    from matplotlib.lines import Line2D

    handles = []
    for look in styles.values():
        dashes: Any = (0, tuple(1.4 * part for part in look.dashes)) if look.dashes else "-"
        handles.append(
            Line2D([], [], color=look.colour, linestyle=dashes, linewidth=1.4, marker=look.marker, markersize=4)
        )
    labels = [shortened(look.label, LEGEND_WIDTH) for look in styles.values()]
    legend = figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8.5, labelspacing=0.7)
    plain_text(legend.get_texts())
