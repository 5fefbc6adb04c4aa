"""Single arguments of the Python interface, held to what the command line takes."""

from __future__ import annotations

import operator

from .errors import UsageError, shown

LARGEST = 2**63 - 1  # what the results store can hold


def whole(what: str, value: object, *, least: int = 0, most: int = LARGEST) -> int:
    """Return a whole number of any integer type as Python's; True, 1.0 and "1" are none.

    Args:
        what: what the number is, for the error message.
        value: an int, a NumPy integer, or an integer array or tensor without dimensions.
        least: the smallest that is right.
        most: the largest that is right.

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


def integer(value: object) -> int | None:
    """Return an integer of any integer type as Python's, or None for what is none."""
    # NumPy's and torch's scalars are told by what their types are called: importing those takes seconds.
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool") or getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):  # the latter of a tensor without content, on torch's meta device
        return None
