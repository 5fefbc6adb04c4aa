"""Where Python looks for modules: never in the working folder only because somebody happens to work there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def without_working_folder(places: Sequence[str]) -> list[str]:
    """Return a module search path without the working folder, under whatever name, and without relative folders.

    Python puts the working folder there by itself (``python -c``, ``-m``, a script that lies in it), so that any file
    in it called as a module of Python's or of a library (``socket.py``, ``queue.py``) would be run in its place. It
    stays where $PYTHONPATH names it in full; and last of all where this package itself is imported from it.
    """
    here, package = os.path.realpath(os.curdir), os.path.realpath(Path(__file__).parent.parent)
    asked_for = set(named_in_full(os.environ.get("PYTHONPATH", "")))
    kept = [
        place for place in places if os.path.isabs(place) and (os.path.realpath(place) != here or place in asked_for)
    ]
    if package == here and here not in map(os.path.realpath, kept):
        kept.append(here)
    return kept


def named_in_full(places: str) -> list[str]:
    """Return the absolute folders of a text like $PYTHONPATH; an empty one would stand for the working folder."""
    return [place for place in places.split(os.pathsep) if os.path.isabs(place)]
