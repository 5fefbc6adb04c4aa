"""A figure of a report, before it is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..cards import content_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """One figure of a report: where it is, how it is drawn, and what a reader who cannot see it is told."""

    stem: str
    kind: str
    alt: str
    draw: Callable[[], Figure]


def slug_of(name: str) -> str:
    """Return a name as a part of file names and anchors; what had to be changed for that is told apart by a digest."""
    slug = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
    return slug if slug == name else f"{slug}-{content_hash(name)[:6]}"
