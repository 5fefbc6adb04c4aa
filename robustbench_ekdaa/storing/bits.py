"""Whether images are right, eight to a byte: a million cells fit into memory, and are counted as fast as they are read.

Rows of N booleans are padded with False to whole 64-bit words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]

WORD = 8  # bytes
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)


def width(count: int) -> int:
    """Return how many bytes a row of so many booleans takes."""
    return -(-count // (8 * WORD)) * WORD


def to_bits(rows: NDArray[np.bool_]) -> Bits:
    """Pack booleans (..., N) into bits (..., B)."""
    some = np.packbits(rows, axis=-1)
    return padded(some, rows.shape[-1])


def padded(some: Bits, count: int) -> Bits:
    """Give rows of bytes that hold `count` booleans their full width."""
    whole = np.zeros((*some.shape[:-1], width(count)), np.uint8)
    whole[..., : some.shape[-1]] = some
    return whole


def from_bits(bits: Bits, count: int) -> NDArray[np.bool_]:
    """Return the booleans that bits stand for, (..., count)."""
    return np.unpackbits(bits, axis=-1, count=count).view(np.bool_)


def how_many(bits: Bits) -> NDArray[np.int64]:
    """Count what is True in each row, (...)."""
    if hasattr(np, "bitwise_count"):
        words = np.ascontiguousarray(bits).view(np.uint64)
        return np.asarray(np.bitwise_count(words).sum(-1, dtype=np.int64))
    return np.asarray(_ONES[bits].sum(-1, dtype=np.int64))
