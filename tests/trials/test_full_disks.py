"""Sweeps whose disk is full or fills up: one clear line, and with more room the same command finishes them."""

from __future__ import annotations

import subprocess

import pytest

from .rounds import trials
from .tool import How
from .workplace import SWEEP

SIZES = [0, 1, 511, 512, 1024, 2048, 2700, 4095, 4096, 4097, 6000, 8192, 15000, 16300, 20480, 40000, 57000, 100000]
SIZES = sorted({*SIZES, *(round(500 * 200 ** (place / 32)) for place in range(32))})
DISKS = 50


@trials(len(SIZES), samples=5)
def test_a_sweep_that_may_write_no_larger_files_says_so_and_is_finished_with_more_room(
    cards, undisturbed, base, note, trial
):
    place = cards.copy_to(base / "place")
    ended = place.clean(f"{SWEEP} run", How(largest_file=SIZES[trial]))
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"exit {ended.code}")


@pytest.fixture
def small_disk(cards, base):
    """A workplace whose run folder is a disk of its own, and how to set that disk's size."""
    place = cards.copy_to(base / "place")
    place.run.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place.run], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.decode()}")
    try:
        yield place, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", place.run], check=True)
    finally:
        subprocess.run(["umount", place.run], check=True)


@trials(DISKS, samples=2)
def test_a_sweep_on_a_full_disk_says_so_and_is_finished_with_more_room(small_disk, undisturbed, note, trial):
    place, resize = small_disk
    resize(f"{4 * (1 + trial * trial // 19)}k")
    ended = place.clean(f"{SWEEP} run")
    resize("64m")
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"exit {ended.code}")
