"""What all cards share: strict tables, a name, a place in a file, and the hash of their content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, field_validator

from ..errors import UsageError, shown
from ..files import shown_path
from ..registry import explain
from .fields import Line, Text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")

if TYPE_CHECKING:  # only a type checker looks for it inside pydantic
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Refusing(ModelMetaclass):
    """Lets cards that are written in Python say what is wrong as those in files do."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*arguments, **fields)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            said = ".".join(map(str, (cls.__name__, *field_of(problem))))
            raise UsageError(f"{said}: {explain(problem)}") from None


def field_of(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return where pydantic found a problem, without its own words for the types it tried."""
    return tuple(part for part in problem["loc"] if not str(part).startswith(("function-", "constrained-", "literal[")))


class Card(BaseModel, metaclass=_Refusing):
    """A strict table: unknown fields are errors and nothing can be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileCard(Card):
    """A card that is a whole file."""

    name: str
    title: Line = ""
    paper: Line = ""
    notes: Text = ""
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
        """Say which file it was read from."""
        self._path = path

    def at(self, field: str) -> str:
        """Name a field of this card for an error message."""
        return f"{shown_path(self._path) if self._path else self.name}: {field}"


def content_hash(facts: Any) -> str:
    """Return 16 hex digits that identify JSON-like facts, independent of the order of keys."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
