"""Workspaces: folders of cards, found by their files' names and read when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import UsageError, unknown_name
from ..files import shown_path
from .attacks import AttackCard, SuiteCard
from .base import FileCard, check, read_toml
from .models import ModelCard

KINDS: dict[str, type[FileCard]] = {"model": ModelCard, "attack": AttackCard, "suite": SuiteCard}


def read_card(path: Path) -> FileCard:
    """Read one card file; its name must be its file's name."""
    table = read_toml(path)
    kind = table.get("kind")
    if kind not in KINDS:
        raise UsageError(f"{shown_path(path)}: kind: must be one of {', '.join(KINDS)} (got {kind!r})")
    card = check(KINDS[kind], table, shown_path(path))
    if card.name != path.stem:
        raise UsageError(f"{shown_path(path)}: name: must be the file's name, {path.stem!r} (got {card.name!r})")
    card._path = path.resolve()
    return card


Found = TypeVar("Found", bound=FileCard)


@dataclass(frozen=True)
class Shelf(Generic[Found]):
    """All cards of one kind that a workspace and the package hold, read when they are asked for."""

    kind: type[Found]
    noun: str
    files: dict[str, Path]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.files)

    def __getitem__(self, name: str) -> Found:
        if name not in self.files:
            raise unknown_name(self.noun, name, self.files, f"robustbench-ekdaa list {self.noun}s")
        card = read_card(self.files[name])
        assert isinstance(card, self.kind)
        return card

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def builtin_workspace() -> Path:
    """Return the folder of the package's own cards: inside the wheel, or the repository's root."""
    package = Path(__file__).resolve().parents[1]
    carried = package / "workspace"
    return carried if carried.is_dir() else package.parent


class Workspace:
    """A folder with ``models/`` and ``attacks/``; the package's own cards are always there too.

    A card of the workspace goes before the package's card of the same name.
    """

    def __init__(self, folder: Path | str = ".") -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(
                f"{self.folder}: there is no such folder. `robustbench-ekdaa init {self.folder}` makes one."
            )
        self.models = Shelf(ModelCard, "model", self._files("models", {"model"}))
        self.attacks = Shelf(AttackCard, "attack", self._files("attacks", {"attack"}))
        self.suites = Shelf(SuiteCard, "suite", self._files("attacks", {"suite"}))

    def _files(self, room: str, kinds: set[str]) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for folder in (builtin_workspace() / room, self.folder / room):
            files.update({path.stem: path for path in sorted(folder.glob("*.toml")) if _kind_of(path) in kinds})
        return files

    def expand_attacks(self, names: Iterable[str]) -> list[AttackCard]:
        """Return the attacks that names of attacks and suites stand for, each once, in the order given."""
        cards: dict[str, AttackCard] = {}
        for name in names:
            if name in self.suites:
                cards.update({member: self.attacks[member] for member in self.suites[name].attacks})
            elif name in self.attacks:
                cards[name] = self.attacks[name]
            else:
                known = [*self.attacks.names(), *self.suites.names()]
                raise unknown_name("attack", name, known, "robustbench-ekdaa list attacks")
        return list(cards.values())


@lru_cache(maxsize=4096)
def _kind_at(path: Path, modified: int) -> str:
    kind = re.search(r"^kind\s*=\s*[\"'](\w+)[\"']", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    # A card without a readable kind is kept under its room's first kind, so that reading it tells what is wrong.
    return kind[1] if kind and kind[1] in KINDS else {"models": "model"}.get(path.parent.name, "attack")


def _kind_of(path: Path) -> str:
    return _kind_at(path, path.stat().st_mtime_ns)
