"""Runs with damaged files: what the tool says of them, and whether following it helps."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from pathlib import Path

from .tool import Running
from .workplace import Undisturbed, Workplace

IDENTICAL, TOLD = "identical rows", "told, and its advice gave identical rows"


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit of one byte of a file; every second time of a byte that is not 0."""
    content = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(content) if byte] if draw.random() < 0.5 else range(len(content))
    place = draw.choice(places)
    content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    print(f"flipped in {path.name}: byte {place} of {len(content)}")


def ends_well(place: Workplace, command: str, damaged: Sequence[Path], undisturbed: Undisturbed) -> str:
    """Run a sweep over damaged files, follow its advice until it succeeds, and hold it to the undisturbed one.

    Returns:
        how it went.
    """
    names = [re.sub(r"-(wal|shm)$", "", path.name) for path in damaged]
    run, told = "run", 0
    while (ended := place.clean(f"{command} {run}")).code != 0:
        assert any(name in ended.complaint for name in names), f"does not name {names}: {ended.complaint}"
        told += 1
        assert told <= 3, f"its advice does not help: {ended.complaint}"
        run = follow(place, ended.complaint, run)
    undisturbed.held_by(place, run)
    return TOLD if told else IDENTICAL


def follow(place: Workplace, complaint: str, run: str) -> str:
    """Do what a line advises, to the letter, and return the run folder to go on with."""
    if "another --run" in complaint:
        return f"{run}2"
    assert re.search(r"[Rr]emove|[Dd]elete|[Mm]ove it away", complaint), f"gives no advice: {complaint}"
    words = re.findall(r"[^\s:,;()'\"`]+", complaint)
    named = {path for word in words for path in (place.folder / word, place.folder / run / word) if path.is_file()}
    assert named, f"names no file: {complaint}"
    for path in named:
        path.rename(place.folder / f"away-{path.name}")
    return run


def kill_once_there_is(place: Workplace, running: Running, pattern: str) -> Path:
    """Kill a command as soon as a file of this kind is in the run folder, and return the file."""
    for _ in range(60_000):
        found = list(place.run.glob(pattern))
        if found:
            running.kill()
            running.wait()
            return found[0]
        time.sleep(0.001)
    raise AssertionError(f"no {pattern} in a minute")
