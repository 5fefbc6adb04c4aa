"""Reading the values of options: lists, epsilons, indices, sizes and KEY=VALUE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..cards import read_epsilons
from ..errors import UsageError


def refuse_empty(words: Sequence[str], command: Any) -> None:
    """Raise UsageError for an empty word in the command: as a path, it would mean the current folder.

    Args:
        words: what was typed after the program's name.
        command: the program, as click or typer knows it.
    """
    for before, word in pairwise(("", *words)):
        option, separator, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if separator and not value.strip():
            raise UsageError(f"{option if option.startswith('--') else _empty_argument(words, command)}: is empty")


def _empty_argument(words: Sequence[str], command: Any) -> str:
    """Return what messages call the argument that is empty: the parser knows which words belong to options."""
    rest = list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    try:
        values, *_ = command.make_parser(command.context_class(command)).parse_args(rest)
    except Exception:  # of click or typer, depending on its version: the rest of the command is wrong, too
        values = {}
    for parameter in command.params:
        value = values.get(parameter.name)
        typed = [value] if isinstance(value, str) else value or ()
        if parameter.param_type_name == "argument" and any(not str(word).strip() for word in typed):
            return str(parameter.name)
    return "an argument"


def parse_list(text: str | None) -> list[str] | None:
    """Split ``A,B,C``; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def parse_kept(text: str | None) -> int | str | None:
    """Read a number of epochs as one; ``all``, and what is wrong, stay as they are."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else text


def parse_epsilons(text: str) -> list[float]:
    """Read ``0,0.05,8/255`` or ``START:STOP:STEP`` with STOP included; raises UsageError."""
    try:
        return list(read_epsilons(text))
    except UsageError as error:
        raise UsageError(f"--epsilons: {error}") from None


def parse_indices(text: str) -> list[int]:
    """Read ``3,1,4`` or ``FIRST:LAST`` with LAST included; raises UsageError."""
    try:
        if ":" not in text:
            return [int(part) for part in text.split(",")]
        first, last = (int(part) for part in text.split(":"))
    except ValueError:
        raise UsageError(f"--indices: cannot read {text!r}. Write 3,1,4 or FIRST:LAST such as 0:499") from None
    if not 0 <= first <= last < first + 1_000_000:
        raise UsageError(f"--indices: {text!r} makes no list. Write 0 <= FIRST <= LAST, a million at most")
    return list(range(first, last + 1))


def parse_share(option: str, text: str) -> float:
    """Read ``2 %``, ``2%`` or ``0.02``, above 0 and at most all; raises UsageError."""
    number = text.strip().removesuffix("%").strip()
    try:
        found = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise UsageError(f"--{option}: cannot read {text!r}. Write a share such as '2 %' or 0.02, at most '100 %'")
    return found


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read ``HEIGHTxWIDTH``; raises UsageError."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--size: cannot read {text!r}. Write HEIGHTxWIDTH, such as 32x48")
    return int(parts[0]), int(parts[1])


def parse_options(texts: list[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` with JSON values, or plain words; raises UsageError."""
    options: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UsageError(f"--option: cannot read {text!r}. Write KEY=VALUE, such as beta=0.5")
        try:
            options[key] = json.loads(value)
        except RecursionError:
            raise UsageError(f"--option: {key}: its lists or tables are nested too deep") from None
        except ValueError:  # not JSON, or a number with more digits than Python reads
            options[key] = value
    return options
