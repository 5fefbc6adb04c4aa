"""Reading what a URL names, through fsspec; whatever goes wrong is one line that names the URL."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UsageError, WorkFailed, told
from ..files import read_bytes
from .location import URL_KINDS, Location

SILENCE = 30  # seconds after which a server that says nothing is given up
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TooLarge(Exception):
    """More bytes came than were asked for."""


def file_system(place: Location) -> Any:
    """Return fsspec's access to what a URL names; raises UsageError if a package for that is missing."""
    import fsspec

    options: dict[str, Any] = {}
    try:
        if place.kind in ("http", "https"):
            import aiohttp

            patience = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
            options["client_kwargs"] = {"timeout": patience, "trust_env": True}  # proxies and ~/.netrc
        access = fsspec.filesystem(place.kind, **options)
    except ImportError as error:
        extra = URL_KINDS[place.kind]
        advice = f"'robustbench-ekdaa[{extra}]'" if extra else "aiohttp"
        raise UsageError(f"{place}: {place.kind}: needs a package that is not here: pip install {advice}") from error
    except Exception as error:  # of somebody's package, which may look for credentials
        raise UsageError(f"{place}: cannot be opened ({told(error)})") from error
    access.invalidate_cache()
    return access


@contextmanager
def clear_answers(place: Location) -> Iterator[None]:
    """Turn whatever reading or writing at a URL raises into one line.

    Raises:
        UsageError: for what is not there, or may not be read or written.
        WorkFailed: where a server fails, does not answer, or stops too early.
    """
    try:
        yield
    except (UsageError, WorkFailed, TooLarge):
        raise
    except FileNotFoundError:
        raise UsageError(f"{place}: there is no such file") from None
    except PermissionError as error:
        raise UsageError(f"{place}: access is denied ({told(error)})") from None
    except (asyncio.TimeoutError, TimeoutError):  # one class from Python 3.11 on
        raise WorkFailed(f"{place}: does not answer (nothing came for {SILENCE} s). Try again.") from None
    except OSError as error:
        if error.errno in FULL_DISK:
            raise  # of this machine
        raise _silent(place, error) from None
    except Exception as error:  # of somebody's package
        raise _answer(place, error) from None


def _answer(place: Location, error: Exception) -> UsageError | WorkFailed:
    """Return the error for what a server answered."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        kind = UsageError if 400 <= status < 500 else WorkFailed
        return kind(f"{place}: the server answers {status} ({getattr(error, 'message', '') or 'no reason'})")
    name = type(error).__name__
    if "PayloadError" in name or "Disconnected" in name:
        return WorkFailed(f"{place}: the download ended too early. Try again.")
    if "Connect" in name or "Timeout" in name:
        return _silent(place, error)
    return WorkFailed(f"{place}: cannot be read or written ({told(error)})")


def _silent(place: Location, error: Exception) -> WorkFailed:
    return WorkFailed(f"{place}: does not answer ({told(error)}). Is it right, and is there a network?")


def download(place: Location, draft: Path, most: int) -> None:
    """Copy a file to this machine.

    Args:
        place: the file.
        draft: where it goes.
        most: the most bytes that it may have.

    Raises:
        UsageError: for what is not there, may not be read, or is larger.
        WorkFailed: where a server fails, does not answer, or stops too early.
        OSError: for a full disk.
    """
    too_large = UsageError(f"{place}: has more bytes than it may have ({most:,})")
    if place.path is not None:
        with clear_answers(place):
            if place.path.is_file() and place.path.stat().st_size > most:
                raise too_large
            read_bytes(place.path, 0) if not place.path.is_file() else shutil.copyfile(place.path, draft)
        return
    access = file_system(place)
    try:
        with clear_answers(place):
            access.get_file(place.url, str(draft), callback=_limit(most))
    except TooLarge:
        raise too_large from None
    if draft.stat().st_size > most:
        raise too_large


def _limit(most: int) -> Any:
    """Return a callback that stops a download when more bytes came than may."""
    from fsspec.callbacks import Callback

    class Limit(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > most:
                raise TooLarge

    return Limit()


def read_remote(place: Location, most: int) -> bytes:
    """Return the content of a file, here or elsewhere; raises UsageError and WorkFailed as `download` does."""
    if place.path is not None:
        return read_bytes(place.path, most)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "content"
        download(place, draft, most)
        return draft.read_bytes()


def mark_of(place: Location) -> str | None:
    """Return what a server says changes with the content (an ETag, a digest); None if it says nothing, or at all."""
    try:
        with clear_answers(place):
            facts = file_system(place).info(place.url)
    except (UsageError, WorkFailed):
        return None
    found = next((facts[name] for name in ("ETag", "sha256", "blob_id") if facts.get(name)), None)
    return None if found is None else str(found)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()
