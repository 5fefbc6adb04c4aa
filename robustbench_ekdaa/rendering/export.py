"""Rows as files: CSV, Parquet, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..errors import unknown_name
from ..files import output_file

# A text that begins with one of these is computed by spreadsheets, not shown.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    # Without a float format, pandas writes the shortest digits that read back to the same number.
    words = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    shown = frame.assign(**{str(name): frame[name].map(_no_formula) for name in words})
    shown.to_csv(path, index=False, lineterminator="\n")


def _no_formula(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would compute, as its users do."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def _write_json(frame: pd.DataFrame, path: Path) -> None:
    rows = [
        {name: value if _has_json_form(value) else None for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
    path.write_text(json.dumps(rows, indent=0, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _has_json_form(value: object) -> bool:
    return value is not pd.NA and not (isinstance(value, float) and not math.isfinite(value))


FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "json": _write_json,
}


def export_frame(frame: pd.DataFrame, path: Path | str, form: str = "csv") -> int:
    """Write a frame to one file, and return how many rows it has.

    Args:
        frame: such as `Results.frame()`.
        path: the file, or ``-`` for standard output; what was there is replaced only once the new one is whole. Links
            are followed and folders made.
        form: "csv", "parquet" or "json" (a list of rows); missing values are empty fields or null, and so are infinite
            ones in JSON. In CSV, text that begins with ``=``, ``+``, ``-``, ``@`` or a tab gets an apostrophe before
            it, or spreadsheets would run it as a formula.

    Raises:
        UsageError: for an unknown format, a path that cannot be written, or one inside a run folder.
        WorkFailed: for a full disk.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    with output_file(path) as draft:
        FORMATS[form](frame, draft)
    return len(frame)
