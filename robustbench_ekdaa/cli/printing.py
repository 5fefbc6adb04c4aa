"""Printing of commands: all text is shown as plain text, in every encoding."""

from __future__ import annotations

import codecs
import io
import json
import sys
import traceback
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..text import one_line, visible

NARROWEST_TABLE = 80  # columns of a table
LONGEST_NAME = 40  # letters up to which names are never broken
# What is written for our own signs where the stream's encoding does not have them.
SPELLED = {"ε": "eps", "ℓ": "l", "∞": "inf", "±": "+-", "×": "x", "–": "-", "…": "...", "₅": "5", "₀": "0", "†": "#"}


def spell(error: UnicodeError) -> tuple[str, int]:
    r"""Replace letters that a stream cannot write: our own signs by `SPELLED`, others by escapes like ``\u4e2d``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    letters = (SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in lacking)
    return "".join(letters), error.end


def accept_all_text() -> None:
    """Make standard output and error accept every text in any encoding, and raise an error where they lose some."""
    codecs.register_error("spell", spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(
            getattr(stream, "buffer", None), io.RawIOBase
        ):  # with PYTHONUNBUFFERED, text would be lost on a full disk
            whole = io.BufferedWriter(io.FileIO(stream.fileno(), "w", closefd=False))  # the stream stays open
            setattr(sys, name, io.TextIOWrapper(whole, stream.encoding, "spell", line_buffering=True))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spell")


def log() -> Console:
    """Return the console for messages while a command works."""
    return Console(stderr=True)


def say(text: object) -> None:
    """Print one line of text to standard output."""
    show(Text(one_line(text)))


def show(what: RenderableType) -> None:
    """Print something that rich draws to standard output; text in it must be `Text`."""
    console = Console()
    console.width = max(console.width, NARROWEST_TABLE)  # a narrower terminal breaks the lines; rich would drop words
    console.print(what, soft_wrap=isinstance(what, Text))


def tell(text: object) -> None:
    """Print one line of text to standard error, if that can be written."""
    write_error(one_line(text))


def write_error(text: str) -> None:
    """Print text as it is to standard error, if that can be written."""
    try:
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
    except OSError:
        pass


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line; takes the place of `warnings.showwarning`."""
    tell(f"warning: {message}")


def show_traceback(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Print an error with its traceback; takes the place of `sys.excepthook`."""
    write_error(visible("".join(traceback.format_exception(kind, error, where))).rstrip())


def show_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0] if rows else ():
        whole = column == "name" and all(len(str(row[column])) <= LONGEST_NAME for row in rows)
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text("-" if value is None else one_line(value)) for value in row.values()))
    show(table)


def show_json(rows: list[dict[str, Any]] | dict[str, Any]) -> None:
    """Print plain data as JSON that every terminal and every encoding can hold."""
    Console().print_json(json.dumps(rows), ensure_ascii=True)


def with_percent_sign(share: float | None) -> str:
    """Show a share in per cent."""
    return "-" if share is None else f"{100 * share:.2f} %"
