"""Rows as files: CSV, Parquet, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from ..errors import unknown_name
from ..files import output_file

# A text that begins with one of these is computed by spreadsheets, not shown.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


ROWS = 50_000  # that are turned into text at a time, because text takes much more memory than a frame


def _parts(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield a frame part by part; an empty one as it is."""
    for start in range(0, max(len(frame), 1), ROWS):
        yield frame.iloc[start : start + ROWS]


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    # Without a float format, pandas writes the shortest digits that read back to the same number.
    words = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, part in enumerate(_parts(frame)):
            shown = part.assign(**{str(name): part[name].map(_no_formula) for name in words})
            shown.to_csv(file, index=False, header=number == 0, lineterminator="\n")


def _no_formula(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would compute, as its users do."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def _write_json(frame: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, part in enumerate(_parts(frame)):
            rows = [
                {name: value if _has_json_form(value) else None for name, value in row.items()}
                for row in part.astype(object).to_dict("records")
            ]
            text = json.dumps(rows, indent=0, ensure_ascii=False, allow_nan=False)
            # A list in parts: each without its brackets, which are "[" and a line's end, and the other way round.
            file.write((",\n" if number else "[\n" * bool(rows)) + text[2:-2])
        file.write("\n]\n" if len(frame) else "[]\n")


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
