"""Checking single arguments of the Python interface as strictly as those of the command line."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from .errors import UsageError, shown

Place = str | os.PathLike[str]
LARGEST = 2**63 - 1  # the largest integer of the results store
# Bits of the significand.
NARROW = {"float32": 24, "float16": 11, "bfloat16": 8}
SIMPLE = 5  # as many digits as a number that somebody wrote may have
FLOAT32_ERROR = 3e-7  # relative: a few roundings, as sums and products of simple numbers make


def whole(what: str, value: object, *, least: int = 0, most: int = LARGEST) -> int:
    """Return a whole number of any integer type as an int; True, 1.0 and "1" are refused.

    Args:
        what: what the number is, for the error message.
        value: an int, a NumPy integer, or an integer array or tensor without dimensions.
        least: the smallest number allowed.
        most: the largest number allowed.

    Raises:
        UsageError: for anything else.

    """
    number = integer(value)
    if number is None:
        raise UsageError(f"{what}: must be a whole number (got {shown(value)})")
    if number < least:
        raise UsageError(f"{what}: must be at least {least} (got {shown(number)})")
    if number > most:
        raise UsageError(f"{what}: must be at most {most} (got {shown(number)})")
    return number


def whole_numbers(what: str, values: object) -> tuple[int, ...]:
    """Return a list of whole numbers from 0 up.

    Args:
        what: what the numbers are, for the error message.
        values: a sequence of what `whole` takes, or an array or tensor of one dimension.

    Raises:
        UsageError: for anything else.

    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise UsageError(f"{what}: must be a list of whole numbers (got {shown(values)})")
    return tuple(whole(what, value) for value in values)


def a_path(what: str, place: Place) -> Path:
    """Return a path; raises UsageError for anything else, and for "", which would mean the current folder."""
    if not isinstance(place, (str, os.PathLike)) or not str(place).strip() or "\0" in str(place):
        raise UsageError(f"{what}: must be a path (got {shown(place)})")
    return Path(place)


def share(what: str, value: object, *, most: float) -> float:
    """Return a share from 0 to ``most``, of any real type, as a float; raises UsageError for anything else."""
    number = real(value)
    if number is None or not 0 <= number <= most:
        raise UsageError(f"{what}: must be a number from 0 to {most:g} (got {shown(value)})")
    return float(number) + 0.0  # never -0.0, which would be another identity


def real(value: Any) -> int | float | Decimal | Fraction | None:
    """Return the number that a value of any real type holds; None for anything else, such as true and "1".

    A float32, float16 or bfloat16 is read as the shortest decimal that it stores: np.float32(0.1), which is
    0.10000000149, is 0.1. A float32 may be off by a few of its steps, as torch.linspace is, and np.float32(8 / 255) is
    8 / 255.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    if isinstance(value, (int, float, Fraction)):
        return None if value != value else value  # NaN
    if getattr(value, "ndim", 1) != 0 or not hasattr(value, "dtype"):
        return None
    # A scalar, array or tensor. Types are compared by name, because importing NumPy and torch takes seconds.
    kind = str(value.dtype).removeprefix("torch.")
    if not kind.startswith(("float", "bfloat", "int", "uint")):
        return None
    try:
        number = float(value.item())
    except RuntimeError:  # a tensor without content, on torch's meta device
        return None
    if math.isnan(number):
        return None
    return _shortest(number, NARROW[kind]) if kind in NARROW and math.isfinite(number) else number


def _shortest(number: float, bits: int) -> float:
    """Return the shortest decimal that is this number when rounded to so many bits, or the simple number nearby."""
    for digits in range(1, 17):
        candidate = float(f"{number:.{digits}g}")
        mantissa, exponent = math.frexp(candidate)
        if math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits) == number:
            break
    if bits == NARROW["float32"] and digits > SIMPLE:
        for simple in (round(number * 255) / 255 if number <= 1 else 0.0, float(f"{number:.{SIMPLE}g}")):
            if abs(simple - number) <= FLOAT32_ERROR * abs(number):
                return simple
    return candidate


def integer(value: object) -> int | None:
    """Return an integer of any integer type as an int, or None for anything else."""
    # Types of NumPy and torch are compared by name, because importing these takes seconds.
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool") or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):  # the latter of a tensor without content, on torch's meta device
        return None
