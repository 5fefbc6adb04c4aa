"""Types of the values in cards: all are bounded, and no type is read as another one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from ..arguments import integer, real
from ..errors import shown

MOST_VALUES, DEEPEST = 1_000, 5  # of a table of options


def number(value: object) -> float:
    """Return a finite number of any real type as a float; raises ValueError for anything else, such as true or "1"."""
    found = real(value)
    if found is None or not -(2**1023) < found < 2**1023:
        raise ValueError(f"must be a finite number (got {shown(value)})")
    return float(found)


def whole_number(value: object) -> int:
    """Return an integer of any integer type as an int; raises ValueError for anything else, such as true or 1.0."""
    found = integer(value)
    if found is None:
        raise ValueError(f"must be a whole number (got {shown(value)})")
    return found


def plain_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options that hold only numbers, texts, true, false, and lists and tables of these; raises ValueError."""
    waiting: list[tuple[str, Any, int]] = [(name, value, 1) for name, value in options.items()]
    for name, value, depth in waiting:
        if len(waiting) > MOST_VALUES or depth > DEEPEST or len(name) > 1_000:
            raise ValueError(f"{shown(name.partition('.')[0])}: too many values, or tables or lists in one another")
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}", below, depth + 1) for key, below in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(f"{name}.{place}", below, depth + 1) for place, below in enumerate(value)]
        elif isinstance(value, str):
            if len(value) > 1_000:
                raise ValueError(f"{name}: must have 1,000 letters at most (got {shown(value)})")
        elif not isinstance(value, (bool, int, float)):
            raise ValueError(f"{name}: must be a number, true or false, a text, a list or a table (got {shown(value)})")
        elif not (-(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)):
            raise ValueError(f"{name}: must be a finite number of at most 64 bits (got {shown(value)})")
    return options


Number = Annotated[float, BeforeValidator(number)]
Whole = Annotated[int, BeforeValidator(whole_number)]
Count = Annotated[Whole, Field(gt=0, le=1_000_000)]
Length = Annotated[Whole, Field(gt=0, le=255)]  # of a kernel, a stride, a pooling window: pixels
YesNo = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), Field(max_length=10_000)]
Line = Annotated[str, Strict(), Field(max_length=1_000)]
# A text that a card may leave out; an empty one is left out too.
OptionalText = Annotated[Text | None, AfterValidator(lambda text: text or None)]
OptionalLine = Annotated[Line | None, AfterValidator(lambda text: text or None)]
Options = Annotated[dict[str, Any], AfterValidator(plain_options)]
