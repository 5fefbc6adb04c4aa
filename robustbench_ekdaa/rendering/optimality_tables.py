"""How near each attack comes to the best result known, on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..analysis.fooled import ALL_CARDS, ITSELF
from ..analysis.optimality import OptimalityRow, optimality_rows
from ..analysis.results import Results
from ..analysis.standing import NOT_RANKED
from ..storing.outcomes import Outcomes
from ..text import one_line
from .style import NORM_SIGNS
from .tables import EMPTY_CELL

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

HEADS = ("attack", "transferred", "most on", "on the model itself", "most on")
WHAT_GAPS_ARE = (
    "Points that models keep more under this attack alone than under all attacks together, image by image; 0: no other "
    "attack fools them on any further image. Mean over cards, and the card with the most."
)


def optimality_tables(results: Results, epsilon: float | None = None) -> Group:
    """Return `Results.optimality` for a rich console, one table per norm of several attacks; empty for none.

    Raises:
        UsageError: if `epsilon` was not scored.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Text | Table] = []
    for outcomes in results.outcomes:
        for facts in optimality_facts(outcomes, epsilon):
            title = f"{outcomes.title}: how near each attack comes to the best result known, {facts['where']}"
            parts += [Text(one_line(title), style="italic"), _table(facts["rows"])]
    return Group(*parts, *([Text(WHAT_GAPS_ARE)] if parts else []))


def optimality_facts(outcomes: Outcomes, epsilon: float | None = None) -> list[dict[str, Any]]:
    """Collect what is shown of one data set's attacks, as plain data: of each norm with several attacks."""
    rows, found = optimality_rows(outcomes, epsilon), []
    for norm in dict.fromkeys(row.norm for row in rows):
        own = [row for row in rows if row.norm == norm]
        attacks = list(dict.fromkeys(row.attack for row in own))
        if len(attacks) > 1:
            where = f"ε = {own[0].epsilon:g} ({NORM_SIGNS.get(norm, norm)})"
            lines = [[attack, *_cells([row for row in own if row.attack == attack])] for attack in attacks]
            found.append({"where": where, "heads": HEADS, "rows": lines, "below": WHAT_GAPS_ARE})
    return found


def _cells(rows: Sequence[OptimalityRow]) -> Iterator[str]:
    """Yield the mean gap over cards and the card with the largest, of transferred attacks and of white-box ones.

    Cards that have not shown that they learned anything fall for no attack, so that no attack is far from another.
    """
    for source in (ALL_CARDS, ITSELF):
        gaps = {row.target: row.gap for row in rows if row.attacks_from == source and row.standing != NOT_RANKED}
        if not gaps:
            yield from (EMPTY_CELL, "")
            continue
        most = max(gaps, key=lambda card: gaps[card])
        yield f"{100 * sum(gaps.values()) / len(gaps):.1f}"
        yield f"{100 * gaps[most]:.1f} {most}" if len(gaps) > 1 else ""


def _table(rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, head in enumerate(HEADS):
        table.add_column(Text(head), justify="right" if place in (1, 3) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table
