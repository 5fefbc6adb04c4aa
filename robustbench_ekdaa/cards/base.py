"""The base classes of all cards, and the hash of their content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, field_serializer, field_validator

from ..errors import UsageError, shown
from ..files import shown_path
from ..registry import explain
from .fields import OptionalLine, OptionalText

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")

if TYPE_CHECKING:  # the class is private in pydantic, so it is imported for type checkers only
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Refusing(ModelMetaclass):
    """Makes a wrong card that is written in Python a UsageError, as a wrong card in a file is."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*arguments, **fields)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, (cls.__name__, *field_of(problem))))
            raise UsageError(f"{place}: {explain(problem)}") from None


def field_of(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return the field in which pydantic found a problem, without pydantic's own names of types."""
    return tuple(part for part in problem["loc"] if not str(part).startswith(("function-", "constrained-", "literal[")))


class Card(BaseModel, metaclass=_Refusing):
    """A strict table: unknown fields are errors, and a card cannot be changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileCard(Card):
    """A card that is a file of its own.

    Attributes:
        name: its name, which is the file's name without ``.toml``.
        title: what figures and tables call it (default: its name).
        paper: where it was published; None if the card does not say.
        notes: anything that a reader should know, or None.

    """

    name: str
    title: OptionalLine = None
    paper: OptionalLine = None
    notes: OptionalText = None
    _path: Path | None = PrivateAttr(default=None)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(
                "must be 1 to 100 letters, digits, '_', '-', '+' or '.', without spaces or commas, and start with a "
                f"letter or digit (got {shown(value)})"
            )
        return value

    @field_serializer("title", "paper", "notes")
    def _as_stored(self, text: str | None) -> str:
        # Runs store cards as JSON, in which an absent text has been an empty one since the first release.
        return text or ""

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

    def stand_in(self, path: Path) -> None:
        """Remember the file that the card was read from."""
        self._path = path

    def at(self, field: str) -> str:
        """Name a field of this card for an error message."""
        return f"{shown_path(self._path) if self._path else self.name}: {field}"


def content_hash(facts: Any) -> str:
    """Return 16 hex digits that identify a value.

    Args:
        facts: anything that JSON can hold; the order of keys does not matter.

    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
