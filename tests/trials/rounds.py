"""How many trials of each kind are made: all with ``-m "slow or not slow"``, a few of each by default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

MOST = int(os.environ.get("TRIALS", "0")) or None  # TRIALS=20: at most twenty of each kind


def trials(rounds: int, samples: int = 1) -> pytest.MarkDecorator:
    """Give a test a number of rounds as its ``trial``; a few, spread over all, are not slow."""
    return pytest.mark.parametrize("trial", spread(range(rounds), samples))


def spread(values: Sequence[Any], samples: int = 1) -> list[Any]:
    """Return values for a test's parameter; all but a few, spread over all, are slow."""
    count = len(values)
    positions = range(count) if MOST is None else sorted({number * count // MOST for number in range(MOST)})
    quick = {number * count // samples for number in range(samples)}
    return [
        pytest.param(values[position], id=str(position), marks=() if position in quick else pytest.mark.slow)
        for position in positions
    ]
