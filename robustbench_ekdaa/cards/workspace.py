"""Workspaces: folders of cards, found by their files' names and read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from ..arguments import Place, a_path
from ..errors import UsageError, located, shown, unknown_name
from ..files import shown_path
from .attacks import AttackCard, SuiteCard
from .base import FileCard
from .models import ModelCard
from .reading import check, parse_toml, read_text

KINDS: dict[str, type[FileCard]] = {"model": ModelCard, "attack": AttackCard, "suite": SuiteCard}
# The folders of a workspace, and the kinds of card that belong there; a file of another kind is kept under the first,
# so that whoever asks for it is told what is wrong.
ROOMS = {"models": ("model",), "attacks": ("attack", "suite")}


def read_card(path: Path) -> FileCard:
    """Read one card file; its name must be its file's name."""
    where = shown_path(path)
    text = read_text(path)
    table = parse_toml(text, where)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{where}: kind: must be one of {', '.join(KINDS)} (got {shown(kind)})")
    card = check(KINDS[kind], table, where, text)
    if card.name != path.stem:
        raise UsageError(f"{where}: name: must be the file's name, {shown(path.stem)} (got {card.name!r})")
    card.stand_in(path.resolve())
    return card


Found = TypeVar("Found", bound=FileCard)


@dataclass(frozen=True)
class Shelf(Generic[Found]):
    """All cards of one kind that a workspace and the package hold, read when they are asked for.

    Attributes:
        kind: the class of the cards.
        noun: what messages call one.
        files: name -> file.
        unread: why the workspace's folder could not be read; empty if it could. Then no card can be had, as nobody
            knows which of them the workspace has itself.

    """

    kind: type[Found]
    noun: str
    files: dict[str, Path]
    unread: str = ""

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.files)

    def __getitem__(self, name: str) -> Found:
        if self.unread:
            raise UsageError(self.unread)
        return self._read(name)

    def _read(self, name: str) -> Found:
        if name not in self.files:
            raise unknown_name(self.noun, name, self.files, f"robustbench-ekdaa list {self.noun}s")
        path = self.files[name]
        card = read_card(path)
        if not isinstance(card, self.kind):
            found = next(name for name, kind in KINDS.items() if isinstance(card, kind))
            room = next(room for room, kinds in ROOMS.items() if found in kinds)
            raise UsageError(f"{shown_path(path)}: kind: a card of kind {found!r} belongs in {room}/. Move it there.")
        return card

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def read_all(self) -> tuple[list[Found], list[str]]:
        """Return the cards that can be read, by name, and one line about each file or folder that cannot."""
        cards, problems = [], [self.unread] if self.unread else []
        for name in self.names():
            try:
                cards.append(self._read(name))
            except UsageError as error:
                problems.append(str(error))
        return cards, problems


def builtin_workspace() -> Path:
    """Return the folder of the package's own cards: inside the wheel, or the repository's root."""
    package = Path(__file__).resolve().parents[1]
    carried = package / "workspace"
    return carried if carried.is_dir() else package.parent


class Workspace:
    """A folder with ``models/`` and ``attacks/``; the package's own cards are always there too.

    A card of the workspace goes before the package's card of the same name. Files whose names begin with a dot are no
    cards. A file that cannot be read is an error for whoever asks for its card, and for nobody else.
    """

    def __init__(self, folder: Place = ".") -> None:
        self.folder = a_path("workspace", folder)
        try:
            found = self.folder.is_dir()
        except OSError as error:
            raise UsageError(f"{self.folder}: cannot be read ({error.strerror})") from None
        if not found:
            raise UsageError(
                f"{self.folder}: there is no such folder. `robustbench-ekdaa init {self.folder}` makes one."
            )
        models, unread = self._room("models")
        self.models = Shelf(ModelCard, "model", models["model"], unread)
        attacks, unread = self._room("attacks")
        self.attacks = Shelf(AttackCard, "attack", attacks["attack"], unread)
        self.suites = Shelf(SuiteCard, "suite", attacks["suite"], unread)

    def _room(self, room: str) -> tuple[dict[str, dict[str, Path]], str]:
        """Return the files of a room by kind and name, and why some could not be listed."""
        kinds, unread = ROOMS[room], ""
        files = {path.stem: path for path in card_files(builtin_workspace() / room)}
        try:
            files.update({path.stem: path for path in card_files(self.folder / room)})
        except UsageError as error:
            unread = str(error)
        by_kind: dict[str, dict[str, Path]] = {kind: {} for kind in kinds}
        for name, path in files.items():
            kind = _kind_of(path) if len(kinds) > 1 else None
            by_kind[kind if kind in by_kind else kinds[0]][name] = path
        return by_kind, unread

    def expand_attacks(self, names: Iterable[str]) -> list[AttackCard]:
        """Return the attacks that names of attacks and suites stand for, each once, in the order given."""
        cards: dict[str, AttackCard] = {}
        for name in names:
            if name in self.suites:
                with located(self.suites[name].at("attacks")):
                    cards.update({member: self.attacks[member] for member in self.suites[name].attacks})
            elif name in self.attacks:
                cards[name] = self.attacks[name]
            else:
                known = [*self.attacks.names(), *self.suites.names()]
                raise unknown_name("attack", name, known, "robustbench-ekdaa list attacks")
        return list(cards.values())


def card_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are meant to be cards, sorted; none if there is no such folder."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml" and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{shown_path(folder)}: cannot be read ({error.strerror})") from None


def _kind_of(path: Path) -> str | None:
    try:
        return _kind_at(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _kind_at(path: Path, modified: int) -> str | None:
    """Find a card's kind; None where it cannot be read, which reading it as a card tells."""
    try:
        text = read_text(path)
        for part in (text.split("\n[", 1)[0], text):  # a kind stands before all tables, and most of the text is theirs
            with suppress(UsageError):
                kind = parse_toml(part, "").get("kind")
                return kind if isinstance(kind, str) else None
    except UsageError:
        pass
    return None
