"""Names with hyphens for underscores, or the other way round: they are understood, and a hint says what is right."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable


def folded(name: str) -> str:
    """Return a name with underscores for hyphens: equal for names that differ in these alone."""
    return name.replace("-", "_")


def other_spelling(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that differs from `name` in hyphens and underscores alone.

    Args:
        name: any name.
        known: all names there are.

    Returns:
        the other spelling; None if there is none, and if there are several.

    """
    found = {each for each in known if each != name and folded(each) == folded(name)}
    return found.pop() if len(found) == 1 else None


def as_spelled(kind: str, name: str, known: Collection[str]) -> str:
    """Return a name as it is known; one that is not known in any spelling is returned as it is.

    Warns of a name that is known in its other spelling only.

    Args:
        kind: what is named, such as ``"model"``, for the warning.
        name: what was asked for.
        known: all names there are.

    """
    right = None if name in known else other_spelling(name, known)
    if right is None:
        return name
    # Always from this line, so that Python shows the same hint once, however often a command looks a name up.
    warnings.warn(f"there is no {kind} {name}; {right} is used. Write {right}.", stacklevel=1)
    return right
