"""Who is fooled by whom, on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..analysis.fooled import ALL_CARDS, FOREIGN_CARD, ITSELF, FooledRow, fooled_rows
from ..analysis.results import Results
from ..analysis.standing import RANKED
from ..text import one_line
from .style import NORM_SIGNS
from .tables import EMPTY_CELL

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

MOST_TARGETS = 5  # columns that fit beside each other
NAME_WIDTH, CELL_WIDTH = 24, 12
TOGETHER_NAMES = {ALL_CARDS: "mean over cards", ITSELF: "itself (white-box)"}


COLUMNS_AND_ROWS = (
    "Accuracy (%) of each model (column) under attacks crafted on each card (row), with its 95 % interval."
)


def fooled_tables(results: Results, epsilon: float | None = None) -> Group:
    """Return `Results.who_is_fooled` for a rich console, in tables of 100 columns at most; empty for no attacks.

    Raises:
        UsageError: if `epsilon` was not scored.
    """
    from rich.console import Group
    from rich.text import Text

    parts = [part for one in results.outcomes for part in _parts(fooled_rows(one, epsilon), one.title)]
    return Group(*parts, *([Text(COLUMNS_AND_ROWS)] if parts else []))


def _parts(rows: Sequence[FooledRow], title: str) -> Iterator[Text | Table]:
    """Yield a data set's tables, norm by norm, with some targets each."""
    from rich.text import Text

    for norm in dict.fromkeys(row.norm for row in rows):
        own = [row for row in rows if row.norm == norm]
        where = f"ε = {own[0].epsilon:g} ({NORM_SIGNS.get(norm, norm)})"
        yield Text(one_line(f"{title}: who is fooled by whom, {where}"), style="italic")
        targets = list(dict.fromkeys(row.target for row in own))
        for start in range(0, len(targets), MOST_TARGETS):
            yield _table(own, targets[start : start + MOST_TARGETS])


def _table(rows: Sequence[FooledRow], targets: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    own = [row for row in rows if row.target in targets]
    standing = {row.target: row.standing for row in own}
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(Text("crafted on"), overflow="fold", max_width=NAME_WIDTH)
    for name in targets:
        heading = one_line(name) if standing[name] == RANKED else f"{one_line(name)}\n({standing[name]})"
        table.add_column(Text(heading), justify="right", overflow="fold", max_width=CELL_WIDTH)
    lines: dict[str, list[str]] = {}
    for row in own:
        lines.setdefault(_source(row), []).append(_cell(row))
    for source, cells in lines.items():
        table.add_row(Text(one_line(source)), *map(Text, cells))
    return table


def _source(row: FooledRow) -> str:
    if row.surrogate is None:
        return TOGETHER_NAMES[row.attacks_from]
    return f"{row.surrogate} (foreign)" if row.attacks_from == FOREIGN_CARD else row.surrogate


def _cell(row: FooledRow) -> str:
    if math.isnan(row.accuracy):
        return EMPTY_CELL
    share, low, high = (f"{100 * value:.0f}" for value in (row.accuracy, row.accuracy_low, row.accuracy_high))
    return f"{share} [{low},{high}]"
