"""Cards: TOML files that say what a model, an attack, a suite or a sweep is, read into checked objects.

A card is data: reading one runs no code. Its content is its identity (`content_hash`), so that any change of a number
makes a new model or attack and no stale result is ever reused. Titles, papers and notes are not part of the identity.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from .errors import UsageError, unknown_name
from .registry import explain, is_file_reference, referenced_file

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


# -- models ----------------------------------------------------------------------------------------------------------


class Block(Card):
    """One step of a network: a layer, its activation, and pooling.

    The readout (a linear layer to the classes, no activation) follows the last block by itself.
    """

    layer: Literal["conv", "linear"]
    width: Positive = Field(description="output channels of a convolution, or units of a linear layer")
    kernel: Positive = 3
    stride: Positive = 1
    padding: Annotated[int, Field(ge=0)] | Literal["same"] = "same"
    bias: bool | None = None
    activation: str | None = None
    pool: Literal["none", "max", "average"] = "none"
    pool_size: Positive = 2
    pool_stride: Positive | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Block:
        if self.layer == "linear" and (self.pool != "none" or self.kernel != 3 or self.stride != 1):
            raise ValueError("a linear block has no kernel, stride or pool")
        if self.padding == "same" and self.stride == 1 and self.layer == "conv" and self.kernel % 2 == 0:
            raise ValueError(f"padding 'same' needs an odd kernel (got {self.kernel}); give the padding as a number")
        return self


class NetworkSpec(Card):
    """A network: a preset's name, or a list of blocks of one's own; with the activation and bias they default to."""

    preset: str | None = None
    blocks: tuple[Block, ...] | None = None
    activation: str = "tanh"
    bias: bool = True

    @model_validator(mode="after")
    def _one_of(self) -> NetworkSpec:
        if (self.preset is None) == (self.blocks is None):
            raise ValueError("give either preset or blocks")
        return self


class Recipe(Card):
    """How a model is trained on one data set."""

    epochs: Positive
    batch_size: Positive = 64
    optimizer: str = Field(default="SGD", description="a class of torch.optim")
    learning_rate: float = Field(gt=0)
    optimizer_options: dict[str, Any] = {}
    schedule: str | None = Field(default=None, description="a class of torch.optim.lr_scheduler, stepped per epoch")
    schedule_options: dict[str, Any] = {}
    notes: str = ""


def refers(recipe: Any) -> bool:
    """Whether a card's table takes another data set's recipe instead of being one."""
    return isinstance(recipe, dict) and "as" in recipe


def shared_recipe(dataset: str, training: dict[str, Any]) -> Any:
    """Return a data set's recipe as it is written, or the one that its ``as`` names: one step, never a chain."""
    recipe = training[dataset]
    if not refers(recipe):
        return recipe
    written = {name: other for name, other in training.items() if not refers(other)}
    if recipe["as"] not in list(written):
        known = " or ".join(written) or "there is none"
        raise ValueError(
            f"training.{dataset}.as: must name a recipe that this card writes out ({known}; got {recipe['as']!r})"
        )
    shared = written[recipe["as"]]
    if not isinstance(shared, (dict, Recipe)):
        return shared  # what is wrong with it is said where it is written
    if other := sorted(set(recipe) - {"as", "notes"}):
        raise ValueError(f"training.{dataset}.{other[0]}: a recipe is taken whole; beside as stand only notes")
    return {**dict(shared), "notes": recipe.get("notes", "")}


class ModelCard(FileCard):
    """A learning rule on a network, with its training recipe per data set (``default`` serves all others).

    A data set may take another's recipe, ``svhn = { as = "cifar10" }``, with notes of its own.
    """

    kind: Literal["model"]
    rule: str = Field(description="a known rule, or FILE.py:CLASS beside the card")
    rule_options: dict[str, Any] = {}
    network: NetworkSpec
    training: dict[str, Recipe]

    @model_validator(mode="before")
    @classmethod
    def _shared_recipes(cls, table: Any) -> Any:
        training = table.get("training") if isinstance(table, dict) else None
        if not isinstance(training, dict):
            return table
        # Those written out come first, so that what is wrong in one is told where it is written.
        order = sorted(training, key=lambda dataset: refers(training[dataset]))
        return {**table, "training": {dataset: shared_recipe(dataset, training) for dataset in order}}

    def recipe(self, dataset: str) -> Recipe:
        """Return the recipe for a data set; raises UsageError if the card has none."""
        if dataset in self.training:
            return self.training[dataset]
        if "default" in self.training:
            return self.training["default"]
        raise UsageError(
            f"{self.at('training')}: no recipe for {dataset} (only {', '.join(sorted(self.training))}). "
            f"Add [training.{dataset}] or [training.default]."
        )

    def identity(self, dataset: str) -> dict[str, Any]:
        """Everything about the card, but its network, that decides a trained model's numbers on ``dataset``."""
        # Without defaults, so that a field that a later release adds leaves the identity of today's models alone.
        facts: dict[str, Any] = {
            "rule": self.rule,
            "rule_options": self.rule_options,
            "recipe": self.recipe(dataset).model_dump(exclude={"notes"}, exclude_defaults=True),
        }
        if is_file_reference(self.rule):
            source = referenced_file(self.rule, self.folder)
            facts["rule_file"] = hashlib.sha256(source.read_bytes()).hexdigest()
            facts["rule"] = self.rule.rpartition(":")[2]
        return facts

    @property
    def rule_name(self) -> str:
        """The rule's name for colours and tables: the known name, or the class a file holds."""
        return self.rule.rpartition(":")[2]


# -- attacks ---------------------------------------------------------------------------------------------------------


class Component(BaseModel):
    """A named part of a gradient attack; its further fields are the part's options, checked when it is built."""

    model_config = ConfigDict(extra="allow", frozen=True)

    component: str

    @property
    def options(self) -> dict[str, Any]:
        """The fields besides the name."""
        return dict(self.model_extra or {})


STEP_SIZE = re.compile(r"(?:(?P<factor>\d+(?:\.\d+)?) \* )?epsilon(?: / (?P<divisor>steps|\d+(?:\.\d+)?))?")


def length_at(length: float | str, epsilon: float, steps: int = 1) -> float:
    """Return a length in pixels that may be written in epsilons: a number, or a text that `STEP_SIZE` matches."""
    if not isinstance(length, str):
        return float(length)
    form = STEP_SIZE.fullmatch(length)
    assert form is not None
    divisor = form["divisor"]
    count = 1.0 if divisor is None else float(max(steps, 1)) if divisor == "steps" else float(divisor)
    return float(form["factor"] or 1.0) * epsilon / count


class AttackCard(FileCard):
    """A threat model and a recipe for adversarial images.

    Attributes:
        norm: how the size of a perturbation is measured.
        steps: how many steps to take; 0 with a start is noise.
        step_size: a number in pixels of [0, 1], or ``"epsilon"``, ``"epsilon / steps"``, ``"2.5 * epsilon / steps"``.
        loss: what rises (or, towards a target, falls).
        source: where gradients come from; every source but ``single`` takes several surrogates together.
        start: where the attack begins (default: at the clean images).
        input: what is done to the images before the networks see them, first thing first.
        gradient: what is done around the gradient, each entry wrapping those before it.
        update: from gradients to a direction.
        step: from a direction to a move.
        target: for a targeted attack, how each image's target class is chosen.
        backward: what stands in for the derivative of activations that have none, such as signum: ``"zero"``,
            ``"straight_through"``, ``"tanh:K"``. Each is tried, and each image keeps what fools its surrogate most.
            Other surrogates are attacked once, with their own derivatives.
        adapter: an attack of another library; then steps, loss, source and all other components are not given.

    """

    kind: Literal["attack"]
    norm: Literal["linf", "l2", "l1"] = "linf"
    steps: Annotated[int, Field(ge=0)] = 10
    step_size: float | str = "epsilon / steps"
    loss: str = "cross_entropy"
    source: Component = Component(component="single")
    start: Component | None = None
    input: tuple[Component, ...] = ()
    gradient: tuple[Component, ...] = ()
    update: Component = Component(component="plain")
    step: Component = Component(component="steepest")
    target: Literal["random", "least_likely", "runner_up", "next"] | None = None
    backward: tuple[str, ...] = Field(default=("straight_through", "tanh:1", "tanh:3"), min_length=1)
    adapter: Component | None = None

    @field_validator("step_size")
    @classmethod
    def _readable(cls, value: float | str) -> float | str:
        if isinstance(value, str) and not STEP_SIZE.fullmatch(value):
            raise ValueError(
                f"must be a number, or 'epsilon', 'epsilon / steps', '2.5 * epsilon / steps' or alike (got {value!r})"
            )
        if length_at(value, 1.0) <= 0:
            raise ValueError(f"must be greater than 0 (got {value!r})")
        return value

    @field_validator("backward")
    @classmethod
    def _stand_ins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"zero|straight_through|tanh:(?!0+(\.0*)?$)\d+(\.\d+)?", value):
                raise ValueError(f"must hold 'zero', 'straight_through' or 'tanh:K' such as 'tanh:3' (got {value!r})")
        return values

    @model_validator(mode="after")
    def _does_something(self) -> AttackCard:
        if self.steps == 0 and self.start is None:
            raise ValueError("an attack of 0 steps needs a [start], or it leaves every image as it is")
        if self.steps == 0 and self.target is not None:
            raise ValueError("an attack of 0 steps cannot aim at a target")
        own = {"steps", "step_size", "loss", "source", "start", "input", "gradient", "update", "step"}
        given = sorted(own & self.model_fields_set)
        if self.adapter is not None and given:
            raise ValueError(f"an [adapter] runs another library's attack; {given[0]} has no meaning beside it")
        return self

    def step_for(self, epsilon: float) -> float:
        """Return the step size in pixels at one epsilon."""
        return length_at(self.step_size, epsilon, self.steps)

    @property
    def uses_surrogate(self) -> bool:
        """Whether the images depend on a surrogate; noise does not."""
        return self.steps > 0

    @property
    def uses_ensemble(self) -> bool:
        """Whether it takes several surrogates together rather than one."""
        return self.uses_surrogate and self.source.component != "single"

    def identity(self) -> dict[str, Any]:
        """Everything about the card that decides the adversarial images; the name keys the random draws.

        Fields at their defaults are left out, so that a new kind of field leaves old cards who they were.
        """
        facts = self.model_dump(exclude={"title", "paper", "notes", "kind"}, exclude_defaults=True)
        optional = [part for part in (self.start, self.adapter) if part is not None]
        named = Component(component=self.loss), self.source, self.update, self.step
        for part in (*named, *optional, *self.input, *self.gradient):
            if is_file_reference(part.component):
                source = referenced_file(part.component, self.folder)
                facts.setdefault("files", {})[source.name] = hashlib.sha256(source.read_bytes()).hexdigest()
        return facts


class SuiteCard(FileCard):
    """A name for several attacks."""

    kind: Literal["suite"]
    attacks: tuple[str, ...] = Field(min_length=1)


# -- sweeps ----------------------------------------------------------------------------------------------------------


class SweepSpec(Card):
    """What to train, attack and score: the content of a sweep file or of the command line's flags.

    Attributes:
        datasets: data set names.
        models: model card names; each is trained with ``seeds`` seeds.
        surrogates: the models adversarial images are crafted on (default: all of ``models``).
        targets: the models that are scored (default: all of ``models``).
        attacks: attack and suite names.
        epsilons: perturbation sizes in pixels of [0, 1], ascending; 0 is always scored, as the clean images.
        images: how many test images (default: all).
        seeds: how many training seeds, 0 to seeds - 1.
        seed: keys the choice of images and the attacks' random draws.
        batch_size: images per crafting batch.
        precision: what the surrogates' layers compute in while images are crafted; targets answer in float32.
        save_images: whether the adversarial images are kept in the run folder.

    """

    datasets: tuple[str, ...] = Field(min_length=1)
    models: tuple[str, ...] = ()
    surrogates: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    attacks: tuple[str, ...] = Field(min_length=1)
    epsilons: tuple[float, ...] = Field(min_length=1)
    images: Positive | None = None
    seeds: Positive = 3
    seed: int = Field(default=0, ge=0)
    batch_size: Positive = 250
    precision: Literal["float32", "bfloat16"] = "float32"
    save_images: bool = False

    @field_validator("epsilons")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if value < 0:
                raise ValueError(f"an epsilon must not be negative (got {value:g})")
        # So that 3 * 0.1 and 0.3 are one epsilon, with one place in the store.
        values = tuple(round(value, 12) for value in values)
        if len(set(values)) != len(values):
            raise ValueError(f"an epsilon is given twice (got {', '.join(f'{value:g}' for value in values)})")
        return tuple(sorted({0.0, *values}))

    @model_validator(mode="after")
    def _someone_to_attack(self) -> SweepSpec:
        if not self.surrogate_names or not self.target_names:
            raise ValueError("name at least one model: models is empty")
        return self

    @property
    def surrogate_names(self) -> tuple[str, ...]:
        """The models that adversarial images are crafted on, without repeats."""
        return tuple(dict.fromkeys(self.models if self.surrogates is None else self.surrogates))

    @property
    def target_names(self) -> tuple[str, ...]:
        """The models that are scored, without repeats."""
        return tuple(dict.fromkeys(self.models if self.targets is None else self.targets))


# -- reading ---------------------------------------------------------------------------------------------------------


def content_hash(facts: Any) -> str:
    """Return 16 hex digits that identify JSON-like facts, independent of the order of keys."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shown_path(path: Path) -> str:
    """Return a path as short as it can be said from the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


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


def read_sweep(path: Path) -> SweepSpec:
    """Read a sweep file."""
    return check(SweepSpec, read_toml(path), shown_path(path))


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


# -- workspaces ------------------------------------------------------------------------------------------------------

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
    package = Path(__file__).resolve().parent
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
