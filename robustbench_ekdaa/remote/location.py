"""Where a file or a folder is: on this machine, or at a URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..arguments import Place, a_path
from ..errors import UsageError, shown
from ..files import shown_path
from ..text import one_line

# The kinds of URLs, each with the extra of this package that it needs.
URL_KINDS = {"file": None, "http": None, "https": None, "s3": "s3", "hf": "hf"}
LONGEST = 2_000


@dataclass(frozen=True)
class Location:
    """A file or a folder, here or elsewhere.

    Attributes:
        url: its URL; of one on this machine its path, as it was given.
        path: its path on this machine; None for one elsewhere.
    """

    url: str
    path: Path | None = None

    def __truediv__(self, part: str) -> Location:
        """Return a file in this folder."""
        path = None if self.path is None else self.path / part
        return Location(f"{self.url.rstrip('/')}/{part}", path)

    def __str__(self) -> str:
        """Name it in messages and records: without a query, which may hold a secret."""
        return one_line(self.url.partition("?")[0]) if self.path is None else shown_path(self.path)

    @property
    def kind(self) -> str:
        """The kind of its URL."""
        return "file" if self.path is not None else self.url.partition(":")[0].lower()


def is_url(text: str) -> bool:
    """Whether a text is a URL, of whatever kind, and no path."""
    return "://" in text or text.lower().startswith("file:")


def location(what: str, place: Place | Location) -> Location:
    """Return where a file or a folder is.

    Args:
        what: what the argument is called in messages.
        place: a URL of one of `URL_KINDS`, or a path.

    Raises:
        UsageError: for anything else, and for a URL with a user's name or password in it.
    """
    if isinstance(place, Location):
        return place
    if not isinstance(place, str) or not is_url(place):
        path = a_path(what, place)
        return Location(str(path), path.expanduser())
    url: Any = urlsplit(place)
    try:
        url.hostname, url.port  # noqa: B018 - reading them raises ValueError
    except ValueError:
        url = urlsplit("")
    kind = url.scheme.lower()
    if kind not in URL_KINDS:
        raise UsageError(
            f"{what}: must be a path, or a URL that begins with {', '.join(URL_KINDS)} (got {shown(place)})"
        )
    if len(place) > LONGEST or place != one_line(place) or " " in place:
        raise UsageError(f"{what}: must be a URL without spaces, of {LONGEST:,} letters at most (got {shown(place)})")
    if kind == "file":
        if url.netloc not in ("", "localhost") or not url.path.startswith("/") or "\0" in unquote(url.path):
            raise UsageError(f"{what}: must be file:///FOLDER with the whole path (got {shown(place)})")
        return Location(place, Path(unquote(url.path)))
    if not url.netloc:
        raise UsageError(f"{what}: must name a host or bucket, as {kind}://NAME/... does (got {shown(place)})")
    if "@" in url.netloc:
        raise UsageError(
            f"{what}: a URL must hold no user name and no password, as it is recorded in runs. Put them in ~/.netrc."
        )
    return Location(place)
