"""Reading TOML files and checking cards; every error is one line that names file, field and reason."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ..errors import UsageError
from ..files import read_bytes, shown_path
from ..registry import explain
from .base import Card, field_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1_000_000
AnyCard = TypeVar("AnyCard", bound=Card)


def read_text(path: Path) -> str:
    """Read a file of text in UTF-8, with or without a byte order mark, with line ends of any system."""
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{shown_path(path)}: cannot be read (not UTF-8 text). Save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Read TOML; raises UsageError with the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not valid TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{where}: not valid TOML: its lists or tables are nested too deep") from None
    except ValueError:  # what Python says of numbers with thousands of digits, and of days such as February 30
        raise UsageError(f"{where}: not valid TOML: it holds a number or a date that does not exist") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises UsageError naming file and line."""
    return parse_toml(read_text(path), shown_path(path))


def check(kind: type[AnyCard], table: dict[str, Any], where: str, text: str | None = None) -> AnyCard:
    """Turn a table into a card.

    Args:
        kind: the class of the card.
        table: what the TOML file holds.
        where: what messages call the file.
        text: the file's text, in which the line of a wrong field is looked for.

    Raises:
        UsageError: naming file, field, reason and, where it was found, the line.

    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = field_of(problem)
        place = field[:-1] if problem["type"] == "missing" else field
        line = None if text is None else line_of(text, place)
        dotted = ".".join(map(str, field))
        raise UsageError(
            f"{where}: {dotted + ': ' if dotted else ''}{explain(problem)}{f', line {line}' if line else ''}"
        ) from None


def line_of(text: str, field: Sequence[str | int]) -> int | None:
    """Return the number, from 1, of the line that sets a field; None if no single line does.

    It is the first line at which the text up to and including it is valid TOML that has the field.
    """
    name = next((part for part in reversed(field) if isinstance(part, str)), "")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1) if name else ():
        if name in line and _holds("\n".join(lines[:number]), field):
            return number
    return None


def _holds(text: str, field: Sequence[str | int]) -> bool:
    try:
        found: Any = tomllib.loads(text)
        for part in field:
            found = found[part]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return True
