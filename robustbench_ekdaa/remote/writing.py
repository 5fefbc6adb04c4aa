"""Writing files to a folder, here or elsewhere: each whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import UsageError
from ..files import clear_errors, whole_file
from .location import Location
from .reading import clear_answers, file_system

READ_ONLY = ("http", "https")  # kinds of URLs that are only read


def refuse_read_only(what: str, place: Location) -> None:
    """Raise UsageError for a URL at which nothing can be written."""
    if place.kind in READ_ONLY:
        raise UsageError(
            f"{what}: {place.kind}: is only read. Name the folder that the server serves, or a URL of s3: or hf: "
            f"(got {place})"
        )


def put(place: Location, source: Path, advice: str) -> None:
    """Copy a file to its place, there or not.

    Args:
        place: where it goes.
        source: the file.
        advice: what a message says to do about a place that cannot be written.

    Raises:
        UsageError: for a place that cannot be written.
        WorkFailed: for a full disk, and a server that fails or does not answer.
    """
    if place.path is not None:
        kept = "what was there before is as it was"
        with clear_errors(place.path, kept=kept, misuse=advice), whole_file(place.path) as draft:
            shutil.copyfile(source, draft)
        return
    access = file_system(place)
    with clear_answers(place):
        access.put_file(str(source), place.url)


def size_of(place: Location) -> int | None:
    """Return how many bytes a file has; None if it is not there.

    Raises:
        UsageError: when it may not be read.
        WorkFailed: for a server that fails or does not answer.
    """
    if place.path is not None:
        return place.path.stat().st_size if place.path.is_file() else None
    access = file_system(place)
    with clear_answers(place):
        if not access.exists(place.url):
            return None
        size = access.info(place.url).get("size")
    return None if size is None else int(size)
