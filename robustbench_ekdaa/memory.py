"""How much memory this machine has, so that what cannot fit is refused at once."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

# Where Linux says how much memory a container may use (cgroups version 2, and 1).
CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total_memory() -> int | None:
    """Return the bytes of memory that this process can use at most; None where the system does not say."""
    limits = []
    with suppress(AttributeError, ValueError, OSError):  # not known on this system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in CONTAINER:
        with suppress(OSError, ValueError):  # not in a container, or in one without a limit
            limits.append(int(file.read_text()))
    return min((limit for limit in limits if limit > 0), default=None)


def in_words(size: float) -> str:
    """Return bytes as people write them, such as ``"12.5 GiB"``."""
    power = min(4, max(0, int(math.log(max(size, 1), 1024))))
    number = size / 1024**power
    return f"{number:,.{0 if power == 0 or number >= 100 else 1}f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
