"""The summary on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..analysis.results import Results
from ..analysis.summary import FOOLED
from .tables import display_frame

if TYPE_CHECKING:
    from rich.table import Table

WIDTHS = {"data set": 17, "norm": 4, "model": 20, "note": 15}  # of columns that hold words, which may be broken
DROPPED = ("noise", FOOLED, "white-box", "area / clean", "seeds")  # columns for which a terminal has no room
WITHOUT_INTERVAL = ("area", "ε₅₀")  # nor has it for these
BELOW = "Means over surrogates, in the sweep's order: no ranking. What each surrogate leaves stands below."


def summary_table(results: Results, epsilon: float | None = None) -> Table:
    """Return `Results.summary` as a table for a rich console; it fits 100 columns.

    Raises:
        UsageError: if `epsilon` was not scored.
    """
    from rich.table import Table
    from rich.text import Text

    summary = results.summary(epsilon)
    shown = display_frame(summary, {one.dataset: one.title for one in results.outcomes})
    shown = shown.drop(columns=[name for name in shown if str(name).startswith(DROPPED)])
    for name in WITHOUT_INTERVAL:
        shown[name] = shown[name].str.partition(" [")[0]
    table = Table(box=None, header_style="bold", pad_edge=False, caption=Text(BELOW), caption_justify="left")
    for name in map(str, shown.columns):
        if name in WIDTHS:
            table.add_column(Text(name), overflow="fold", max_width=WIDTHS[name])
        else:
            heading = name.replace("robust accuracy", "robust\naccuracy").replace("clean ", "clean\n")
            table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in shown.itertuples(index=False):
        # Text, not markup: a title in brackets is a title.
        table.add_row(*(Text(cell) for cell in row))
    return table
