"""Comparisons on the terminal and on the page: a verdict's regimes, and the matrix of all pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..analysis.verdict import LEVEL, PRIMARY, Regime, Verdict
from ..text import one_line

if TYPE_CHECKING:
    from rich.table import Table

SIGNIFICANT, LACKING = "*", "†"
NUMERIC = "+-<0123456789"  # how cells begin that are never broken


REGIME_HEADS = ("attacks from", "points", "p", "P(better)", "seeds", "images")


def regimes_table(verdict: Verdict) -> Table:
    """Return a verdict's regimes as a table for a rich console."""
    return _table(REGIME_HEADS, regime_rows(verdict), regimes_caption(verdict))


def regime_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Return a verdict's regimes as text, a row each under `REGIME_HEADS`."""
    return [
        (one.name, in_points(one), in_p(one.p), f"{one.p_better:.3f}", str(one.n_seeds), f"{one.n_images:,}")
        for one in verdict.regimes
    ]


def regimes_caption(verdict: Verdict) -> str:
    """Return what the numbers of a verdict's regimes are."""
    return (
        f"{verdict.first} minus {verdict.second}, with its 95 % interval over images and training seeds; p, adjusted "
        f"for all pairs and norms of the run (Holm); how sure it is that {verdict.first} is harder to fool."
    )


def pairs_table(verdicts: Sequence[Verdict]) -> Table:
    """Return all pairs of cards, with their verdicts, as a table for a rich console."""
    rows = (
        (one.first, one.second, in_points(one.regimes[0]), in_p(one.regimes[0].p), one.word, one.regimes[0].name)
        for one in verdicts
    )
    return _table(("first", "second", "points", "p (Holm)", "verdict", "attacks from"), rows, "")


def matrix_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the matrix of differences, row minus column, as a table for a rich console."""
    names, cells = matrix_cells(verdicts)
    rows = ((row, *(cells.get((row, column), "") for column in names)) for row in names)
    return _table(("", *names), rows, matrix_caption(verdicts))


def matrix_cells(verdicts: Sequence[Verdict]) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Return the cards' names, and by row and column the difference in points under each pair's first regime."""
    names = list(dict.fromkeys(name for one in verdicts for name in (one.first, one.second)))
    cells, mixed = {}, len(_sources(verdicts)) > 1
    for one in verdicts:
        regime = one.regimes[0]
        mark = SIGNIFICANT if regime.p < LEVEL else ""
        mark += LACKING if mixed and regime.slot != PRIMARY else ""
        cells[one.first, one.second] = f"{100 * regime.difference:+.1f}{mark}"
        cells[one.second, one.first] = f"{-100 * regime.difference:+.1f}{mark}"
    return names, cells


def matrix_caption(verdicts: Sequence[Verdict]) -> str:
    """Return what the matrix of differences shows."""
    first, *others = _sources(verdicts)
    under = first + (f" ({LACKING}: without them, {' or '.join(others)})" if others else "")
    return f"Row minus column in points, the difference under {under}. {SIGNIFICANT}: p < {LEVEL} by Holm."


def _sources(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the names of the pairs' first regimes, foreign surrogates first."""
    return sorted(dict.fromkeys(one.regimes[0].name for one in verdicts), key=lambda name: name != PRIMARY)


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
