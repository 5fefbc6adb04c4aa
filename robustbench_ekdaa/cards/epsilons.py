"""Reading epsilons in every form that people and programs write: 0.1, "8/255", np.float32(0.1)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import islice
from typing import Any

from ..arguments import real
from ..errors import UsageError, shown

MOST_EPSILONS = 1_000  # of one sweep
LARGEST_EPSILON = 1e9  # in l1, this epsilon reaches every image of a thousand million pixels
PLACES = 12  # so that 3 * 0.1 and 0.3 are the same epsilon, and are stored as one
DECIMAL = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
WRITE = "Write 0,0.05,0.1 or START:STOP:STEP such as 0:0.3:0.03"


def read_epsilon(value: object) -> float:
    """Return an epsilon as a float, rounded to 12 decimals, so that 3 * 0.1 is the same as 0.3.

    Args:
        value: an int, float, Decimal or Fraction; a text such as ``"0.1"`` or ``"8/255"``; a NumPy scalar, or an array
            or tensor without dimensions, of any real type. A float32, float16 or bfloat16 is read as the shortest
            decimal that it stores: np.float32(0.1), which is 0.10000000149, is 0.1.

    Raises:
        UsageError: for what is no finite number, below 0, or above 0 and too small for 12 decimals.

    """
    number = _fraction(value) if isinstance(value, str) else real(value)
    if number is None or number == math.inf:
        raise UsageError(f"an epsilon must be a number from 0 up, such as 0.1 or '8/255' (got {shown(value)})")
    if number < 0:
        raise UsageError(f"an epsilon must not be negative (got {shown(value)})")
    if number > LARGEST_EPSILON:
        raise UsageError(f"an epsilon must be at most {LARGEST_EPSILON:g}, in pixels of [0, 1] (got {shown(value)})")
    rounded = round(float(number), PLACES)
    if number > 0 and rounded == 0:
        raise UsageError(
            f"an epsilon must be 0, or at least {10.0**-PLACES:g}: smaller ones are 0 (got {shown(value)})"
        )
    return rounded + 0.0  # never -0.0


def read_epsilons(values: object) -> tuple[float, ...]:
    """Return a list of epsilons in the order given.

    Args:
        values: a list, array, tensor or other sequence of epsilons that `read_epsilon` takes; or a text,
            ``"0,0.05,0.1"`` or ``"START:STOP:STEP"`` with STOP included.

    Raises:
        UsageError: for anything else, and for more than 1,000.

    """
    if isinstance(values, str):
        found: Iterable[Any] = _range(values) if ":" in values else _split(values)
    elif isinstance(values, Iterable) and not isinstance(values, (bytes, bytearray, dict)) and _dimensions(values) == 1:
        found = values
    else:
        raise UsageError(f"must be a list of epsilons (got {shown(values)})")
    epsilons = list(islice(found, MOST_EPSILONS + 1))
    if len(epsilons) > MOST_EPSILONS:
        raise UsageError(f"there may be {MOST_EPSILONS:,} epsilons at most")
    return tuple(read_epsilon(epsilon) for epsilon in epsilons)


def _dimensions(values: object) -> int:
    return int(getattr(values, "ndim", 1))


def _fraction(text: str) -> Fraction | None:
    """Return a decimal number or a fraction of two as it is written, or None."""
    above, slash, below = (part.strip() for part in text.partition("/"))
    if not all(DECIMAL.fullmatch(part) for part in ((above, below) if slash else (above,))):
        return None
    divisor = Fraction(below) if slash else Fraction(1)
    return Fraction(above) / divisor if divisor else None


def _split(text: str) -> list[str]:
    """Split ``0,0.05,0.1``; raises UsageError where a comma seems to be a decimal point."""
    parts = [part.strip() for part in text.split(",")]
    alternating = len(parts) % 2 == 0 and all(part == "0" for part in parts[::2]) and all(map(str.isdecimal, parts))
    if len(parts) > 1 and (alternating or any(re.fullmatch(r"0\d+", part) for part in parts)):
        raise UsageError(
            f"{shown(text)} looks like decimals with a comma. Write {parts[0]}.{parts[1]} with a point; "
            f"if you mean the epsilons {parts[0]} and {parts[1]}, write {parts[0]},{parts[1].lstrip('0') or 0}.0"
        )
    for part in parts[:MOST_EPSILONS]:
        if _fraction(part) is None:
            raise UsageError(f"cannot read {shown(text)}. {WRITE}")
    return parts


def _range(text: str) -> list[Fraction]:
    """Return the numbers of ``START:STOP:STEP``, exactly."""
    ends = [_fraction(part) for part in text.split(":")]
    if len(ends) != 3 or None in ends:
        raise UsageError(f"cannot read {shown(text)}. {WRITE}")
    start, stop, step = (end for end in ends if end is not None)
    if not (step > 0 and stop >= start):
        raise UsageError(f"{shown(text)} makes no list. START must not exceed STOP, and STEP must be above 0")
    count = min((stop - start) // step, MOST_EPSILONS) + 1  # one more than allowed, which the caller refuses
    return [start + step * number for number in range(count)]
