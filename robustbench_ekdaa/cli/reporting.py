"""Commands that show the results of a run: report and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files import STANDARD_OUTPUT
from .app import PROGRAM, Debug, app
from .printing import say, tell
from .running import do_report


@app.command(epilog=f"Example: `{PROGRAM} report runs/digits --out reports/digits`")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the report goes.")],
    debug: Debug = False,
) -> None:
    """Write a report folder: page, figures, tables and the data behind them."""
    say(f"Report: {do_report(run, out_folder)}")


@app.command(epilog=f"Example: `{PROGRAM} export runs/digits --format parquet --out digits.parquet`")
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out_file: Annotated[Path, typer.Option("--out", help="The file to write, or - for standard output.")],
    form: Annotated[str, typer.Option("--format", help="csv, parquet or json")] = "csv",
    debug: Debug = False,
) -> None:
    """Write all tidy rows of a run to one file.

    In CSV, text that a spreadsheet would run as a formula (=, +, -, @ first) gets an apostrophe before it.
    """
    from ..api import open_results
    from ..rendering.export import export_frame

    rows = export_frame(open_results(run).frame(), out_file, form)
    (tell if str(out_file) == STANDARD_OUTPUT else say)(f"{out_file}: {rows} rows")
