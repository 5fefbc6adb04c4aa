"""What all cards share: strict tables, names, the content's hash, and errors that name file, field and reason."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from ..errors import UsageError
from ..files import shown_path
from ..registry import explain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Positive = Annotated[int, Field(gt=0)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class Card(BaseModel):
    """A strict table: unknown fields are errors and nothing can be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileCard(Card):
    """A card that is a whole file."""

    name: str
    title: str = ""
    paper: str = ""
    notes: str = ""
    _path: Path | None = PrivateAttr(default=None)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"must be letters, digits, '_', '-', '+' or '.', without spaces or commas (got {value!r})")
        return value

    @property
    def label(self) -> str:
        """What figures and tables call it."""
        return self.title or self.name

    @property
    def path(self) -> Path | None:
        """The file it was read from, if any."""
        return self._path

    @property
    def folder(self) -> Path | None:
        """The folder of that file: where FILE.py references are looked up."""
        return self._path.parent if self._path else None

    def at(self, field: str) -> str:
        """Name a field of this card for an error message."""
        return f"{shown_path(self._path) if self._path else self.name}: {field}"


def content_hash(facts: Any) -> str:
    """Return 16 hex digits that identify JSON-like facts, independent of the order of keys."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


AnyCard = TypeVar("AnyCard", bound=Card)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises UsageError naming file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{shown_path(path)}: cannot be read ({reason})") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{shown_path(path)}: not valid TOML: {error}") from None


def check(kind: type[AnyCard], table: dict[str, Any], where: str) -> AnyCard:
    """Turn a table into a card; raises UsageError naming file, field and reason."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(
            str(part) for part in problem["loc"] if not str(part).startswith(("function-", "constrained-"))
        )
        raise UsageError(f"{where}: {field + ': ' if field else ''}{explain(problem)}") from None
