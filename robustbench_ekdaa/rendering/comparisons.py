"""Comparisons on the terminal: a verdict's regimes, and the matrix of all pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..analysis.verdict import LEVEL, Regime, Verdict
from ..text import one_line

if TYPE_CHECKING:
    from rich.table import Table

SIGNIFICANT = "*"
NUMERIC = "+-<0123456789"  # how cells begin that are never broken


def regimes_table(verdict: Verdict) -> Table:
    """Return a verdict's regimes as a table for a rich console."""
    heads = ("attacks from", "points", "p", "P(better)", "seeds", "images")
    below = (
        f"{verdict.first} minus {verdict.second}, with its 95 % interval over images and training seeds; p, adjusted "
        f"for all pairs and norms of the run (Holm); how sure it is that {verdict.first} is harder to fool."
    )
    rows = (
        (one.name, in_points(one), in_p(one.p), f"{one.p_better:.3f}", str(one.n_seeds), f"{one.n_images:,}")
        for one in verdict.regimes
    )
    return _table(heads, rows, below)


def pairs_table(verdicts: Sequence[Verdict]) -> Table:
    """Return all pairs of cards, with their verdicts, as a table for a rich console."""
    rows = (
        (one.first, one.second, in_points(one.regimes[0]), in_p(one.regimes[0].p), one.word, one.regimes[0].name)
        for one in verdicts
    )
    return _table(("first", "second", "points", "p (Holm)", "verdict", "attacks from"), rows, "")


def matrix_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the matrix of differences, row minus column, as a table for a rich console."""
    names = list(dict.fromkeys(name for one in verdicts for name in (one.first, one.second)))
    cells = {}
    for one in verdicts:
        regime = one.regimes[0]
        mark = SIGNIFICANT if regime.p < LEVEL else ""
        cells[one.first, one.second] = f"{100 * regime.difference:+.1f}{mark}"
        cells[one.second, one.first] = f"{-100 * regime.difference:+.1f}{mark}"
    below = (
        f"Row minus column in points, the difference under {_sources(verdicts)}. {SIGNIFICANT}: p < {LEVEL} by Holm."
    )
    rows = ((row, *(cells.get((row, column), "") for column in names)) for row in names)
    return _table(("", *names), rows, below)


def _sources(verdicts: Sequence[Verdict]) -> str:
    return " or ".join(dict.fromkeys(one.regimes[0].name for one in verdicts))


def in_points(regime: Regime) -> str:
    """Write a difference with its interval in points."""
    return f"{100 * regime.difference:+.1f} [{100 * regime.low:+.1f}, {100 * regime.high:+.1f}]"


def in_p(p: float) -> str:
    """Write a p-value with three digits after the point."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], below: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    lines, caption = list(rows), Text(below) if below else None
    table = Table(box=None, header_style="bold", pad_edge=False, caption=caption, caption_justify="left")
    for place, head in enumerate(heads):
        numbers = place > 0 and all(row[place][:1] in NUMERIC for row in lines if row[place])
        table.add_column(Text(one_line(head)), overflow="fold", justify="right" if numbers else "left", no_wrap=numbers)
    for row in lines:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table
