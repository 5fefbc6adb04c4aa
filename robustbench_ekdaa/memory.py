"""How much memory this machine has, so that what cannot fit is refused at once."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress
from pathlib import Path

# Where Linux says how much memory a container may use (cgroups version 2, and 1).
CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


KEPT = 512 * 1024**2  # bytes; the maps of a batch of small networks take some 100 MiB
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, up to 512 MiB, for what it allocates next.

    glibc gives large blocks back to the system at once, which clears every page again when it hands it out. A batch of
    maps is allocated and freed in every pass.
    Other systems' allocators are left as they are.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a C library without this function
            allocator = ctypes.CDLL(None)
            allocator.mallopt(M_MMAP_THRESHOLD, KEPT)
            allocator.mallopt(M_TRIM_THRESHOLD, KEPT)


def total_memory() -> int | None:
    """Return the bytes of memory that this process can use at most; None where the system does not say."""
    limits = []
    with suppress(AttributeError, ValueError, OSError):  # not known on this system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in CONTAINER:
        with suppress(OSError, ValueError):  # not in a container, or in one without a limit
            limits.append(int(file.read_text()))
    return min((limit for limit in limits if limit > 0), default=None)


def available_memory() -> int | None:
    """Return about how many bytes this process can still use; None where the system does not say."""
    limits = [total_memory()]
    with suppress(OSError, ValueError, StopIteration):  # Linux alone says it
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    return min((limit for limit in limits if limit is not None), default=None)


def in_words(size: float) -> str:
    """Return bytes as people write them, such as ``"12.5 GiB"``."""
    power = min(4, max(0, int(math.log(max(size, 1), 1024))))
    number = size / 1024**power
    return f"{number:,.{0 if power == 0 or number >= 100 else 1}f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
