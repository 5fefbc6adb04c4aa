"""Workspaces: folders of cards, which are found by their files' names and read when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from ..arguments import Place, a_path
from ..errors import UsageError, located, shown, unknown_name
from ..files import shown_path
from ..names import as_spelled, folded, other_spelling
from .attacks import AttackCard, SuiteCard
from .base import FileCard
from .crossing import split_name, under_recipe
from .epochs import after_epoch
from .external import REGISTERED, ExternalCard
from .models import FOREIGN, AnyModelCard, ModelCard, RecipeCard
from .reading import check, parse_toml, read_text

KINDS: dict[str, type[FileCard]] = {
    "model": AnyModelCard,
    "recipe": RecipeCard,
    "attack": AttackCard,
    "suite": SuiteCard,
}
# The folders of a workspace. Suites may also stand among the attacks, as they did in the first release. A file of
# a kind that belongs elsewhere counts as one of its folder's kind, so that reading it says where it belongs.
FOLDERS = {"model": "models", "recipe": "models/recipes", "attack": "attacks", "suite": "attacks/suites"}


def read_card(path: Path) -> FileCard:
    """Read one card file.

    Args:
        path: the file; its name must be the card's name and ``.toml``.

    Raises:
        UsageError: naming file, field and reason.

    """
    where = shown_path(path)
    text = read_text(path)
    table = parse_toml(text, where)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{where}: kind: must be one of {', '.join(KINDS)} (got {shown(kind)})")
    form = KINDS[kind]
    if form is AnyModelCard:
        form = ExternalCard if "external" in table else ModelCard
    card = check(form, table, where, text)
    if card.name != path.stem:
        raise UsageError(f"{where}: name: must be the file's name, {shown(path.stem)} (got {card.name!r})")
    card.stand_in(path.resolve())
    return card


def _two_of_one_name(one: Path, other: Path) -> UsageError:
    alike = "one name" if one.stem == other.stem else "names that differ in hyphens and underscores alone"
    return UsageError(f"{shown_path(one)} and {shown_path(other)} have {alike}. Rename one of them.")


Shelved = TypeVar("Shelved", bound=FileCard)
_Twins = dict[str, tuple[Path, Path]]
_Files = tuple[dict[str, dict[str, Path]], _Twins, str | None]


@dataclass(frozen=True)
class Shelf(Generic[Shelved]):
    """All cards of one kind that a workspace and the package hold; each is read when it is needed.

    Attributes:
        kind: the class of the cards.
        noun: what messages call one.
        files: name -> file.
        twins: name with underscores -> two files of the workspace that this name could mean; neither can be had.
        unread: why the workspace's folder could not be read; None if it could. If not, every card is refused, as it is
            not known which of them the workspace has itself.
        registered: cards of this process, which are no files; they come before files of the same name.

    """

    kind: type[Shelved]
    noun: str
    files: dict[str, Path]
    twins: _Twins
    unread: str | None = None
    registered: Mapping[str, Shelved] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.files, *self.registered})

    def __getitem__(self, name: str) -> Shelved:
        if name in self.registered:
            return self.registered[name]
        if self.unread is not None:
            raise UsageError(self.unread)
        return self._read(name)

    def _read(self, name: str) -> Shelved:
        if folded(name) in self.twins:
            raise _two_of_one_name(*self.twins[folded(name)])
        name = as_spelled(self.noun, name, self.names())
        if name in self.registered:
            return self.registered[name]
        if name not in self.files:
            raise unknown_name(self.noun, name, self.names(), f"robustbench-ekdaa list {self.noun}s")
        path = self.files[name]
        card = read_card(path)
        if not isinstance(card, self.kind):
            found = next(name for name, kind in KINDS.items() if isinstance(card, kind))
            raise UsageError(
                f"{shown_path(path)}: kind: a card of kind {found!r} belongs in {FOLDERS[found]}/. Move it there."
            )
        return card

    def __contains__(self, name: str) -> bool:
        names = self.names()
        return name in names or other_spelling(name, names) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def read_all(self) -> tuple[list[Shelved], list[str]]:
        """Return the cards that can be read, by name, and one line about each file or folder that cannot."""
        cards, problems = [], [] if self.unread is None else [self.unread]
        for name in self.names():
            try:
                cards.append(self._read(name))
            except UsageError as error:
                problems.append(str(error))
        return cards, list(dict.fromkeys(problems))


def builtin_workspace() -> Path:
    """Return the folder of the package's own cards: inside the wheel, or the repository's root."""
    package = Path(__file__).resolve().parents[1]
    carried = package / "workspace"
    return carried if carried.is_dir() else package.parent


class Workspace:
    """A folder with ``models/`` and ``attacks/``, and in them ``recipes/`` and ``suites/``.

    The package's own cards are always there too. A card of the workspace replaces the package's card of the same name.
    Hyphens and underscores in names are read alike, with a warning. Files whose names begin with a dot are no cards. A
    file that cannot be read is an error only where its card is needed.

    Args:
        folder: the workspace's folder (default: the current one).

    Raises:
        UsageError: when there is no such folder.

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
        files, twins, unread = self._files("model")
        self.models: Shelf[AnyModelCard] = Shelf(AnyModelCard, "model", files["model"], twins, unread, REGISTERED)
        files, twins, unread = self._files("recipe")
        self.recipes = Shelf(RecipeCard, "recipe", files["recipe"], twins, unread)
        files, twins, unread = self._files("attack", "suite")
        self.attacks = Shelf(AttackCard, "attack", files["attack"], twins, unread)
        self.suites = Shelf(SuiteCard, "suite", files["suite"], twins, unread)

    def _files(self, *kinds: str) -> _Files:
        """Return the files of kinds that share their names: by kind and name, twins, and why some are not known."""
        unread: str | None = None
        own: list[tuple[str, Path]] = []
        try:
            own = list(_placed(self.folder, kinds))
        except UsageError as error:
            unread = str(error)
        by_name = {path.stem: (kind, path) for kind, path in (*_placed(builtin_workspace(), kinds), *own)}
        files: dict[str, dict[str, Path]] = {kind: {} for kind in kinds}
        for name, (kind, path) in by_name.items():
            files[kind][name] = path
        return files, _twins(path for _, path in own), unread

    def model(self, name: str) -> AnyModelCard:
        """Return a model card.

        ``ekdaa@sgd`` is the card ekdaa with the recipes of the recipe card sgd, and ``ekdaa#3`` and ``ekdaa@sgd#3`` are
        what their trainings are after epoch 3.

        Args:
            name: the card's name, alone, with a recipe card's name behind "@", or with an epoch behind "#".

        Raises:
            UsageError: for an unknown name, a card that cannot be read, what is no epoch, or a recipe or an epoch of
                what was trained elsewhere.

        """
        base, recipe, epoch = split_name(name)
        card = self.models[base]
        card = card if recipe is None else under_recipe(card, self.recipes[recipe])
        return card if epoch is None else after_epoch(card, epoch)

    def expand_models(self, names: Iterable[str]) -> list[AnyModelCard]:
        """Return the model cards of these names, each once, in the order given.

        Args:
            names: as `model` takes them; ``foreign`` stands for all cards whose role is "surrogate".

        Raises:
            UsageError: for an unknown name, or a card that cannot be read.

        """
        cards = [card for name in names for card in (self.foreign() if name == FOREIGN else [self.model(name)])]
        return list({card.name: card for card in cards}.values())

    def foreign(self) -> list[AnyModelCard]:
        """Return the cards whose role is "surrogate", by name; raises UsageError if a card cannot be read."""
        cards, problems = self.models.read_all()
        if problems:  # it may be one of them, and the fewer are crafted on, the stronger all targets look
            raise UsageError(f"{problems[0]} Which models are {FOREIGN!r} is not known before.")
        return [card for card in cards if card.role == "surrogate"]

    def expand_attacks(self, names: Iterable[str]) -> list[AttackCard]:
        """Return the attacks that names of attacks and suites stand for, each once, in the order given.

        Args:
            names: of attacks and suites.

        Raises:
            UsageError: for an unknown name, a card that cannot be read, and suites that name one another in a circle.

        """
        cards: dict[str, AttackCard] = {}
        finished: set[str] = set()
        opened: list[tuple[SuiteCard | None, Iterator[str]]] = [(None, iter(names))]
        while opened:
            suite, members = opened[-1]
            name = next(members, None)
            if name is None:
                finished |= set() if suite is None else {suite.name}
                opened.pop()
                continue
            with nullcontext() if suite is None else located(suite.at("attacks")):
                card = self._attack_or_suite(name)
                if isinstance(card, AttackCard):
                    cards[card.name] = card
                elif card.name not in finished:
                    _refuse_circle(card, [one.name for one, _ in opened if one is not None])
                    opened.append((card, iter(card.attacks)))
        return list(cards.values())

    def _attack_or_suite(self, name: str) -> AttackCard | SuiteCard:
        known = [*self.attacks.names(), *self.suites.names()]
        right = as_spelled("attack", name, known)
        if right in self.suites.files:
            return self.suites[right]
        if right in self.attacks:
            return self.attacks[right]
        raise unknown_name("attack", name, known, "robustbench-ekdaa list attacks")


def _refuse_circle(card: SuiteCard, within: list[str]) -> None:
    """Raise UsageError for a suite that is named, directly or through others, by itself."""
    if card.name in within:
        circle = [*within[within.index(card.name) :], card.name]
        raise UsageError(f"suites name one another in a circle ({', '.join(circle)}). Take one of these names out.")


def _placed(folder: Path, kinds: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield the card files of a workspace's folder with the kind that each is listed under."""
    for kind in kinds:
        for path in card_files(folder / FOLDERS[kind]):
            yield "suite" if kind == "attack" and _kind_of(path) == "suite" else kind, path


def _twins(paths: Iterable[Path]) -> _Twins:
    """Return the pairs of files that one name could mean, by that name with underscores."""
    first: dict[str, Path] = {}
    found = {}
    for path in paths:
        if first.setdefault(folded(path.stem), path) != path:
            found[folded(path.stem)] = first[folded(path.stem)], path
    return found


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
    """Find a card's kind; None where the file cannot be read: the error is raised when it is read as a card."""
    try:
        text = read_text(path)
        for part in (
            text.split("\n[", 1)[0],
            text,
        ):  # the kind stands before all tables, and these are most of the text
            with suppress(UsageError):
                kind = parse_toml(part, "").get("kind")
                return kind if isinstance(kind, str) else None
    except UsageError:
        pass
    return None
