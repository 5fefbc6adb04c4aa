"""Model cards: a learning rule on a network, with a training recipe per data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ..errors import UsageError, shown
from ..names import other_spelling
from ..registry import FACTORIES, NETWORKS, RELEASED_RULES, RULES, is_file_reference, referenced_digest
from .base import Card, FileCard
from .epsilons import read_epsilon
from .fields import Count, Length, Line, Number, OptionalText, Options, YesNo, whole_number

Role = Literal["target", "surrogate"]
FOREIGN = "foreign"  # among the surrogates of a sweep: all cards whose role is "surrogate"


class BlockSpec(Card):
    """One block of a network: a layer, its activation, and pooling.

    The readout, a linear layer to the classes without activation, is added after the last block.

    Attributes:
        layer: "conv" or "linear".
        width: output channels of a convolution, or units of a linear layer.
        kernel: side of the kernel in pixels.
        stride: stride of the convolution in pixels.
        padding: zeros around the map in pixels; "same" keeps the map's size at stride 1.
        bias: whether the layer has a bias (default: the network's).
        activation: the activation's name (default: the network's).
        pool: "max" or "average" pooling after the activation, or "none".
        pool_size: side of the pooling window in pixels.
        pool_stride: stride of the pooling window (default: its side).

    """

    layer: Literal["conv", "linear"]
    width: Count
    kernel: Length = 3
    stride: Length = 1
    padding: int | Literal["same"] = "same"
    bias: YesNo | None = None
    activation: Line | None = None
    pool: Literal["none", "max", "average"] = "none"
    pool_size: Length = 2
    pool_stride: Length | None = None

    @field_validator("padding", mode="before")
    @classmethod
    def _pixels(cls, value: object) -> int | str:
        pixels = value if isinstance(value, str) else whole_number(value)
        if pixels not in ("same", *range(256)):
            raise ValueError(f"must be 'same', or pixels from 0 to 255 (got {shown(value)})")
        return pixels

    @model_validator(mode="after")
    def _consistent(self) -> BlockSpec:
        if self.layer == "linear" and (self.pool != "none" or self.kernel != 3 or self.stride != 1):
            raise ValueError("a linear block has no kernel, stride or pool")
        if self.padding == "same" and self.stride == 1 and self.layer == "conv" and self.kernel % 2 == 0:
            raise ValueError(f"padding 'same' needs an odd kernel (got {self.kernel}); give the padding as a number")
        return self


class NetworkSpec(Card):
    """A network: a preset, a list of blocks, or any module that a function makes.

    Attributes:
        preset: a known network of blocks, or FILE.py:FUNCTION with FILE.py beside the card.
        blocks: the blocks, where there is no preset.
        factory: what makes a network of any other architecture: a known name, or FILE.py:FUNCTION with FILE.py beside
            the card, a function (image_shape, classes, options ...) -> nn.Module; see `networks.modules`.
        options: keyword arguments of the factory.
        activation: of blocks that name none.
        bias: whether blocks have a bias that do not say it, and whether the readout has one.

    """

    preset: Line | None = None
    blocks: Annotated[tuple[BlockSpec, ...], Field(max_length=1_000)] | None = None
    factory: Line | None = None
    options: Options = Field(default={})
    activation: Line = "tanh"
    bias: YesNo = True
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """The folder of the card it stands in, if that is a file."""
        return self._folder

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str | None) -> str | None:
        return None if name is None else NETWORKS.spelled(name)

    @field_validator("factory")
    @classmethod
    def _known_factory(cls, name: str | None) -> str | None:
        return None if name is None else FACTORIES.spelled(name)

    @model_validator(mode="after")
    def _one_of(self) -> NetworkSpec:
        if sum(given is not None for given in (self.preset, self.blocks, self.factory)) != 1:
            raise ValueError("give either preset, blocks or factory")
        of_blocks = sorted({"activation", "bias"} & self.model_fields_set)
        if self.factory is not None and of_blocks:
            raise ValueError(f"{of_blocks[0]} is said of blocks; a factory takes it among its options, or not at all")
        if self.factory is None and self.options:
            raise ValueError("options are those of a factory")
        return self


class AdversarialTraining(Card):
    """Training on images that are crafted on the network itself, as it is at that step.

    Attributes:
        attack: an attack card's name; it is looked up in the workspace of the model card.
        epsilon: how large perturbations may be, in pixels of [0, 1] and the attack's norm; ``"8/255"`` is read too.
        share: how much of each batch is replaced, in (0, 1].

    """

    attack: Line
    epsilon: Annotated[float, Field(gt=0)]
    share: Annotated[Number, Field(gt=0, le=1)] = 0.5

    @field_validator("epsilon", mode="before")
    @classmethod
    def _pixels(cls, value: object) -> float:
        try:
            return read_epsilon(value)
        except UsageError as error:
            raise ValueError(str(error)) from None


class Recipe(Card):
    """How a model is trained on one data set.

    Attributes:
        epochs: how often training passes through all images.
        batch_size: images per step.
        optimizer: a class of torch.optim.
        learning_rate: its learning rate.
        optimizer_options: its other arguments.
        schedule: a class of torch.optim.lr_scheduler, stepped once an epoch; None for a constant learning rate.
        schedule_options: its arguments.
        adversarial: what part of each batch is replaced by adversarial images; None for none.
        notes: why the recipe is what it is, or None; no part of the identity.

    """

    epochs: Count
    batch_size: Count = 64
    optimizer: Line = "SGD"
    learning_rate: Number = Field(gt=0)
    optimizer_options: Options = Field(default={})
    schedule: Line | None = None
    schedule_options: Options = Field(default={})
    adversarial: AdversarialTraining | None = None
    notes: OptionalText = None


def source_of(dataset: str, training: dict[str, Any]) -> Any:
    """Return whose recipe a data set takes: the one its ``as`` names, ``default`` if it has only notes, else None."""
    recipe = training[dataset]
    if isinstance(recipe, dict) and "as" in recipe:
        return recipe["as"]
    only_notes = isinstance(recipe, dict) and set(recipe) == {"notes"}
    return "default" if only_notes and dataset != "default" and "default" in training else None


def shared_recipe(dataset: str, training: dict[str, Any]) -> Any:
    """Return a data set's recipe as it is written, or the one that it takes from another: one step, never a chain."""
    recipe, source = training[dataset], source_of(dataset, training)
    if source is None:
        return recipe
    if "as" not in recipe:
        shared = shared_recipe("default", training)
    else:
        written = {name: other for name, other in training.items() if source_of(name, training) is None}
        if source not in list(written):
            known = " or ".join(written) or "there is none"
            raise ValueError(
                f"training.{dataset}.as: must name a recipe that this card writes out ({known}; got {source!r})"
            )
        shared = written[source]
    if not isinstance(shared, (dict, Recipe)):
        return shared  # the error is raised where it is written
    if other := sorted(set(recipe) - {"as", "notes"}):
        raise ValueError(f"training.{dataset}.{other[0]}: a recipe is taken whole; beside as stand only notes")
    return {**dict(shared), "notes": recipe.get("notes")}


class AnyModelCard(FileCard):
    """What all model cards have in common, whether this tool trains the model or not.

    Attributes:
        role: "surrogate" for a model that is there to be crafted on, of an architecture that no target has; such models
            are what ``foreign`` stands for among a sweep's surrogates. It is no part of the identity.

    """

    kind: Literal["model"]
    role: Role = "target"

    @field_validator("name")
    @classmethod
    def _no_group(cls, name: str) -> str:
        if name == FOREIGN:
            raise ValueError(f"{FOREIGN!r} stands for all cards whose role is 'surrogate'; choose another name")
        return name

    @property
    def rule_name(self) -> str:
        """The learning rule's name for colours and tables."""
        raise NotImplementedError

    def on(self, dataset: str) -> AnyModelCard:
        """Return the card under which the model is known on a data set."""
        return self


class Recipes(FileCard):
    """Recipes by data set.

    The recipe ``default`` serves every data set without one, and those that have notes alone,
    ``svhn = { notes = "not tuned" }``. A data set may take another one: ``svhn = { as = "cifar10" }``, with own notes.

    Attributes:
        training: the recipes by data set.

    """

    if TYPE_CHECKING:  # each kind of card has it in its own place, which is the order in which errors are told
        training: dict[str, Recipe]
    _written: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _shared_recipes(cls, table: Any, read: Callable[[Any], Recipes]) -> Recipes:
        training = table.get("training") if isinstance(table, dict) else None
        if not isinstance(training, dict):
            return read(table)
        # Recipes that are written out come first, so that an error in one is reported where it is written.
        order = sorted(training, key=lambda dataset: source_of(dataset, training) is not None)
        card = read({**table, "training": {dataset: shared_recipe(dataset, training) for dataset in order}})
        sources = {dataset: source_of(dataset, training) for dataset in order}
        card._written = {dataset: sources.get(source) or source for dataset, source in sources.items() if source}
        return card

    def recipe(self, dataset: str) -> Recipe:
        """Return the recipe for a data set; raises UsageError if the card has none."""
        table = self._table(dataset)
        if table in self.training:
            return self.training[table]
        raise UsageError(
            f"{self.at('training')}: no recipe for {dataset} (only {', '.join(sorted(self.training))}). "
            f"Add [training.{dataset}] or [training.default]."
        )

    def _table(self, dataset: str) -> str:
        """Return which of the card's recipes is a data set's; hyphens and underscores are read alike."""
        return dataset if dataset in self.training else other_spelling(dataset, self.training) or "default"

    def at_recipe(self, dataset: str) -> str:
        """Name the table that holds a data set's recipe for an error message."""
        table = self._table(dataset)
        return self.at(f"training.{self._written.get(table, table)}")


class RecipeCard(Recipes):
    """Recipes that any model may be trained by: ``ekdaa@sgd`` is the model card ekdaa under the recipe card sgd."""

    kind: Literal["recipe"]
    training: dict[str, Recipe] = Field(min_length=1, max_length=1_000)


class ModelCard(AnyModelCard, Recipes):
    """A learning rule on a network, with its training recipe per data set.

    Attributes:
        rule: a known rule, or FILE.py:CLASS with FILE.py beside the card.
        rule_options: keyword arguments of the rule.
        network: the network that it trains.

    """

    rule: Line
    rule_options: Options = Field(default={})
    network: NetworkSpec
    training: dict[str, Recipe] = Field(min_length=1, max_length=1_000)
    _recipes: RecipeCard | None = PrivateAttr(default=None)
    _stop: tuple[int, ModelCard] | None = PrivateAttr(default=None)  # after which epoch, and the card without it

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, name: str) -> str:
        return RULES.spelled(name)

    def take_recipes_from(self, recipe: RecipeCard) -> None:
        """Remember the card that the recipes come from, so that errors name its file."""
        self._recipes = recipe

    def recipe(self, dataset: str) -> Recipe:
        """Return the recipe for a data set; raises UsageError if there is none."""
        return super().recipe(dataset) if self._recipes is None else self._recipes.recipe(dataset)

    def at_recipe(self, dataset: str) -> str:
        """Name the table that holds a data set's recipe for an error message."""
        return super().at_recipe(dataset) if self._recipes is None else self._recipes.at_recipe(dataset)

    def stop_after(self, epoch: int, whole: ModelCard) -> None:
        """Remember that the training stops early, and the card of the whole one."""
        self._stop = epoch, whole

    @property
    def whole(self) -> ModelCard:
        """The card of the whole training: itself, unless it stops after an epoch."""
        return self if self._stop is None else self._stop[1]

    def on(self, dataset: str) -> ModelCard:
        """Return the card itself; if it stops after the recipe's last epoch, that of the whole training."""
        if self._stop is None:
            return self
        return self.whole if self.epochs(dataset) == self.whole.epochs(dataset) else self

    def epochs(self, dataset: str) -> int:
        """Return for how many epochs it is trained on a data set.

        Raises:
            UsageError: if it has no recipe for it, or is to stop after an epoch that the recipe does not have.

        """
        last = self.recipe(dataset).epochs
        if self._stop is not None and self._stop[0] > last:
            raise UsageError(
                f"{self.name}: its recipe for {dataset} has only {last} epochs ({self.at_recipe(dataset)}.epochs)"
            )
        return last if self._stop is None else self._stop[0]

    def stand_in(self, path: Path) -> None:
        """Remember the file that the card was read from."""
        super().stand_in(path)
        self.network._folder = self.folder

    def identity(self, dataset: str) -> dict[str, Any]:
        """Return everything in the card, except its network, that decides what a training on ``dataset`` gives."""
        rule = RULES.spelled(self.rule)  # again, because it may have been registered after the card was read
        # Without defaults, so that a field that a later release adds does not change the identity of today's models.
        facts: dict[str, Any] = {
            "rule": RELEASED_RULES.get(rule, rule),
            "rule_options": self.rule_options,
            "recipe": self.recipe(dataset).model_dump(exclude={"notes"}, exclude_defaults=True),
        }
        if self.on(dataset) is not self.whole:
            facts["epoch"] = self.epochs(dataset)
        if is_file_reference(self.rule):
            facts["rule_file"] = referenced_digest(self.rule, self.folder)
            facts["rule"] = self.rule.rpartition(":")[2]
        return facts

    @property
    def rule_name(self) -> str:
        """The rule's name for colours and tables: the known name, or the class a file holds."""
        return self.rule.rpartition(":")[2]
