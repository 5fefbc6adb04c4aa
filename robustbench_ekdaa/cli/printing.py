"""The two consoles, and how tables and shares are printed."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

out, log = Console(), Console(stderr=True)


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    out.print(table)


def percent(share: float | None) -> str:
    """Show a share in per cent."""
    return "-" if share is None else f"{100 * share:.2f} %"
