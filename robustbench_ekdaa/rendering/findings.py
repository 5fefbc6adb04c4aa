"""What checks found, on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..analysis.checks import PASS, RUN_CHECKS, Finding, findings
from ..storing.outcomes import Outcomes

if TYPE_CHECKING:
    from rich.table import Table

STATUS_COLOURS = {"fail": "bold red", "warn": "yellow", "pass": "green"}


def measured(finding: Finding) -> str:
    """Return the number that a check measured, with its unit."""
    return f"{round(finding.value, 4):.4g} {RUN_CHECKS[finding.check].unit}"


def findings_table(found: Sequence[Finding]) -> Table:
    """Return findings as a table for a rich console, a row each; it fits 100 columns."""
    from rich.table import Table
    from rich.text import Text

    several = len({finding.dataset for finding in found}) > 1
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("status", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("measured", max_width=15, overflow="fold")
    table.add_column("what it means, and what to do", overflow="fold")
    for finding in found:
        text = f"{finding.dataset}: {finding.sentence}" if several else finding.sentence
        table.add_row(
            Text(finding.status, style=STATUS_COLOURS[finding.status]),
            Text(finding.check.replace("_", " ")),
            Text(measured(finding)),
            Text(text),
        )
    return table


def check_facts(outcomes: Outcomes) -> dict[str, Any]:
    """Return what a page says of the checks of one data set, as plain data."""
    found = findings(outcomes)
    return {
        "found": [
            {**one.plain(), "name": one.check.replace("_", " "), "measured": measured(one), "place": one.where}
            for one in found
            if one.status != PASS
        ],
        "passed": sorted({one.check.replace("_", " ") for one in found if one.status == PASS}),
    }
