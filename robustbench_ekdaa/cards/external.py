"""Cards of models that were trained elsewhere: a factory and files of weights, or modules of this process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ..errors import UsageError
from ..registry import is_file_reference
from ..remote import Location, is_url, location
from .base import Card
from .fields import Line, Number, Options, Whole
from .models import AnyModelCard, Role

IN_A_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
WEIGHTS = (".safetensors", ".pt", ".pth")
PLACE = "{seed}"  # where the file name of weights has the seed
Seed = Annotated[Whole, Field(ge=0, le=1_000_000)]


class Preprocess(Card):
    """What a module expects to be done to images in [0, 1]: subtract the mean, divide by the deviation.

    Attributes:
        mean: of each channel, or of all.
        std: likewise, each above 0.

    """

    mean: Annotated[tuple[Number, ...], Field(min_length=1, max_length=1_000)]
    std: Annotated[tuple[Annotated[Number, Field(gt=0)], ...], Field(min_length=1, max_length=1_000)]

    @model_validator(mode="after")
    def _as_many(self) -> Preprocess:
        if len(self.mean) != len(self.std):
            raise ValueError(f"must have as many std as mean (got {len(self.std)} and {len(self.mean)})")
        return self


class External(Card):
    """Where a model that was trained elsewhere comes from.

    Attributes:
        factory: FILE.py:FUNCTION with FILE.py beside the card, or package.module:FUNCTION; it returns an `nn.Module`.
        options: keyword arguments of the factory.
        weights: the file of its state, beside the card or at a URL: safetensors, or .pt or .pth, of which only tensors
            are read; ``{seed}`` in it stands for the seed.
        seeds: the seeds there are.
        sha256: of each seed's file; None for what the file is, or what its URL gave when it was fetched first.
        rule: the name that tables have for the learning rule that trained it.
        preprocess: what the module expects to be done to images in [0, 1]; None for nothing.

    """

    factory: Line
    options: Options = Field(default={})
    weights: Line
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=1_000)]
    rule: Annotated[Line, Field(min_length=1)]
    sha256: Annotated[dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], Field(max_length=1_000)] | None = None
    preprocess: Preprocess | None = None

    @field_validator("factory")
    @classmethod
    def _a_reference(cls, name: str) -> str:
        if not is_file_reference(name) and not IN_A_MODULE.fullmatch(name):
            raise ValueError(f"must be FILE.py:FUNCTION or package.module:FUNCTION (got {name!r})")
        return name

    @field_validator("weights")
    @classmethod
    def _a_file(cls, name: str) -> str:
        path = name
        if is_url(name):
            try:
                location("it", name.replace(PLACE, "0"))
            except UsageError as error:
                raise ValueError(str(error).removeprefix("it: ")) from None
            path = name.partition("?")[0]
        if not path.endswith(WEIGHTS):
            raise ValueError(f"must be a file that ends in {', '.join(WEIGHTS)} (got {name!r})")
        return name

    @model_validator(mode="after")
    def _a_file_per_seed(self) -> External:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: must differ from each other (got {list(self.seeds)})")
        if len(self.seeds) > 1 and PLACE not in self.weights:
            raise ValueError(f"weights: must have {PLACE} in it, as there are {len(self.seeds)} seeds")
        if self.sha256 is not None and set(self.sha256) != set(map(str, self.seeds)):
            raise ValueError(f"sha256: must have a digest for each of the seeds {list(self.seeds)}, and for no other")
        return self


class ReadyCard(AnyModelCard):
    """What the cards of models that this tool never trains have in common."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds there are."""
        raise NotImplementedError

    def require(self, seed: int) -> None:
        """Raise UsageError unless there is a model of this seed."""
        if seed not in self.seeds:
            there = ", ".join(map(str, self.seeds))
            raise UsageError(
                f"{self.at('seeds')}: there is no seed {seed} (only {there}), and nothing is trained here. "
                "K seeds are those from 0 to K - 1: ask for fewer, or add its weights."
            )


class ExternalCard(ReadyCard):
    """A model trained elsewhere: ``[external]`` in a card. Nothing of it is trained."""

    external: External

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds there are."""
        return self.external.seeds

    @property
    def rule_name(self) -> str:
        """The learning rule's name for colours and tables."""
        return self.external.rule

    def weights(self, seed: int) -> Location:
        """Return where one seed's weights are."""
        name = self.external.weights.replace(PLACE, str(seed))
        return location("weights", name if is_url(name) else (self.folder or Path()) / name)

    def sha256(self, seed: int) -> str | None:
        """Return what the card says is the digest of one seed's file; None if it does not."""
        return None if self.external.sha256 is None else self.external.sha256[str(seed)]


class RegisteredCard(ReadyCard):
    """Modules of this process, which somebody registered under a name; no file says anything about them."""

    rule: Annotated[Line, Field(min_length=1)]
    _modules: dict[int, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, modules: Mapping[int, Any], rule: str, title: str | None = None, role: Role = "target"
    ) -> RegisteredCard:
        """Return the card of modules by seed."""
        card = cls(kind="model", name=name, title=title, rule=rule, role=role)
        card._modules = dict(modules)
        return card

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds there are."""
        return tuple(sorted(self._modules))

    @property
    def rule_name(self) -> str:
        """The learning rule's name for colours and tables."""
        return self.rule

    def module(self, seed: int) -> Any:
        """Return the registered module itself."""
        return self._modules[seed]


REGISTERED: dict[str, RegisteredCard] = {}  # by name; every workspace of this process has them
