"""Removing the working folder from the folders in which Python looks for modules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def without_working_folder(places: Sequence[str]) -> list[str]:
    """Return a module search path without the working folder, under whatever name, and without relative folders.

    Python adds the working folder by itself (``python -c``, ``-m``, a script in it). Any file there with the name of a
    module of Python or of a library (``socket.py``, ``queue.py``) would then be run instead of that module. The folder
    is kept where $PYTHONPATH names it in full, and is put last where this package itself is imported from it.
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
    """Return the absolute folders of a text like $PYTHONPATH; an empty entry would mean the working folder."""
    return [place for place in places.split(os.pathsep) if os.path.isabs(place)]
