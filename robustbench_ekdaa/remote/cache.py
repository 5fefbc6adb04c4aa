"""What was fetched is kept in the user's cache folder, under its SHA-256, so that it is fetched once.

Each use compares the digest, so that a damaged copy is fetched again. A URL whose content nobody vouches for is
remembered with the digest that it had at first: if it has another one later, that is an error, never another model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UsageError, WorkFailed
from ..files import clear_errors, read_bytes, shown_path, tidy, whole_file
from ..files.unfinished import private_folder
from .location import Location
from .reading import download, mark_of, sha256_of

CACHE_VARIABLE = "ROBUSTBENCH_EKDAA_CACHE"
MOST = 10_000_000_000  # bytes of a file
_asked: dict[str, str] = {}  # URL → SHA-256 of what this process asked about already


def cache_folder() -> Path:
    """Return ``$ROBUSTBENCH_EKDAA_CACHE``, or ``fetched`` in the user's cache folder; it need not exist."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("robustbench-ekdaa")) / "fetched"


def fetched(place: Location, sha256: str, *, size: int | None = None, says: str) -> Path:
    """Return a file on this machine that has a known content.

    Args:
        place: where it is; one on this machine is used where it lies.
        sha256: what its content is.
        size: how many bytes it has, if that is known.
        says: who says so, for messages.

    Raises:
        UsageError: for what is not there or may not be read.
        WorkFailed: for another content, a download that fails or ends too early, and a cache that cannot be written.
    """
    if place.path is not None:
        read_bytes(place.path, 0) if not place.path.is_file() else None  # says what it is instead
        _check(place, place.path, sha256, size, says)
        return place.path
    path = cache_folder() / sha256
    if _is_there(path, sha256):
        return path

    def check(draft: Path) -> Path:
        _check(place, draft, sha256, size, says)
        return path

    _keep(place, check, MOST if size is None else size)
    return path


def remembered(place: Location) -> tuple[Path, str]:
    """Return a file whose content nobody vouches for, and its SHA-256: what was fetched at first.

    Each process asks the server once whether the content is still that. One that cannot be asked is no error.

    Raises:
        UsageError: when it is not there, or was changed since it was fetched first.
        WorkFailed: for a download that fails, and a cache that cannot be written.
    """
    note = cache_folder() / "urls" / f"{hashlib.sha256(place.url.encode()).hexdigest()}.json"
    known = _read_note(note)
    if known is None:
        mark = mark_of(place)
        digest = _fetch_unknown(place)
        _write_note(note, {"url": str(place), "sha256": digest, "mark": mark, "when": time.strftime("%Y-%m-%d")})
    else:
        digest = known["sha256"]
        if _asked.get(place.url) != digest or not _is_there(cache_folder() / digest, digest):
            _compare(place, known, note)
    _asked[place.url] = digest
    return cache_folder() / digest, digest


def _compare(place: Location, known: dict[str, Any], note: Path) -> None:
    """Raise UsageError if a URL has another content than it had at first."""
    copy = cache_folder() / known["sha256"]
    here, mark = _is_there(copy, known["sha256"]), mark_of(place)
    if here and mark is not None and mark == known["mark"]:
        return
    try:
        digest = _fetch_unknown(place)
    except (UsageError, WorkFailed) as error:
        if not here:
            raise
        warnings.warn(f"{error} The copy of {known['when']} is used.", stacklevel=2)
        return
    if digest != known["sha256"]:
        raise UsageError(
            f"{place}: was changed since it was fetched on {known['when']} (SHA-256 {known['sha256']}, now {digest}). "
            f"Write in the card which sha256 is meant; or remove {shown_path(note)} to take what is there now."
        )
    _write_note(note, {**known, "mark": mark})


def _fetch_unknown(place: Location) -> str:
    """Fetch what a URL names, whatever it is, and return its SHA-256."""
    return _keep(place, lambda draft: cache_folder() / sha256_of(draft), MOST).name


def _keep(place: Location, named: Callable[[Path], Path], most: int) -> Path:
    """Download into the cache, under the path that `named` gives to what came."""
    folder = cache_folder()
    tidy(folder)
    with clear_errors(folder, kept=f"free some space, or name another folder in ${CACHE_VARIABLE}"):
        folder.mkdir(parents=True, exist_ok=True)
        with private_folder(folder) as room:
            draft = room / "file"
            download(place, draft, most)
            path = named(draft)
            with whole_file(path) as whole:
                draft.replace(whole)
    return path


def _check(place: Location, path: Path, sha256: str, size: int | None, says: str) -> None:
    """Raise WorkFailed unless a file has the content it should have."""
    have = path.stat().st_size
    if size is not None and have != size:
        what = "ended too early" if have < size else "is longer than it should be"
        raise WorkFailed(f"{place}: {what}: {have:,} bytes, where {says} says {size:,}")
    found = sha256_of(path)
    if found != sha256:
        raise WorkFailed(f"{place}: is not what {says} says: its SHA-256 is {found}, not {sha256}")


def _is_there(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and sha256_of(path) == sha256
    except OSError:
        return False


def _read_note(note: Path) -> dict[str, Any] | None:
    """Return what is noted about a URL; None if nothing is, or the note is damaged."""
    try:
        found = json.loads(note.read_bytes())
        whole = re.fullmatch("[0-9a-f]{64}", found["sha256"]) and isinstance(found["when"], str) and "mark" in found
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return dict(found) if whole else None


def _write_note(note: Path, facts: dict[str, Any]) -> None:
    with clear_errors(note), whole_file(note) as draft:
        draft.write_text(json.dumps(facts), encoding="utf-8")
