"""Sweep files, which say what to train, attack and score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, field_validator, model_validator

from ..errors import UsageError
from ..files import shown_path
from .base import Card
from .crossing import crossed_names
from .epochs import ALL, read_kept
from .epsilons import read_epsilon, read_epsilons
from .fields import Count, Whole, YesNo
from .models import FOREIGN
from .reading import check, parse_toml, read_text

MOST_SEEDS = 1_000  # that each model is trained with
Names = Annotated[tuple[Annotated[str, Strict(), Field(max_length=5_000)], ...], Field(max_length=1_000)]


class SweepSpec(Card):
    """What to train, attack and score: the content of a sweep file or of the command line's flags.

    Attributes:
        datasets: data set names.
        models: model card names; each is trained with ``seeds`` seeds. ``ekdaa@sgd`` is ekdaa under the recipe card
            sgd, ``ekdaa#3`` what its training is after epoch 3.
        recipes: recipe cards that each of ``models`` is crossed with; ``own`` is the one a model card has itself. A
            crossing that is the same as a model's own recipe is not trained twice.
        surrogates: the models that adversarial images are crafted on (default: all of ``models``). ``foreign`` stands
            for all cards whose role is "surrogate".
        targets: the models that are scored (default: all of ``models``).
        attacks: attack and suite names.
        epsilons: in pixels of [0, 1], in any order, or a text such as ``"0:0.3:0.03"``; see `read_epsilons`. They are
            sorted, and 0, the clean images, is always among them.
        verdict_epsilon: at which of the epsilons cards are compared, by norm, such as ``{ linf = 0.05 }``; a number
            alone is for every norm. Declared before the sweep, it cannot be chosen by what came out.
        images: how many test images (default: all).
        seeds: how many training seeds, 0 to seeds - 1.
        surrogate_seeds: how many of these the surrogates have (default: all), where crafting on all takes too long.
        seed: decides the choice of images and the attacks' random draws.
        batch_size: images per crafting batch (default: what fits the surrogates' maps; see docs/sweeps.md).
        precision: the type in which the surrogates' layers compute while images are crafted; targets always predict
            in float32.
        save_images: whether the adversarial images are kept in the run folder.
        strict_versions: whether versions of torch and of attack libraries, device and platform are part of every key,
            so that nothing made with others is taken for the same.
        keep_epochs: which epochs' weights the trainings keep on the way: ``"all"``, or K for every K-th; the last is
            always kept. They are models of the run, such as ``ekdaa#3``, that nothing is crafted on unless they are
            named.

    """

    datasets: Names = Field(min_length=1)
    models: Names = ()
    recipes: Names = ()
    surrogates: Names | None = None
    targets: Names | None = None
    attacks: Names = Field(min_length=1)
    epsilons: tuple[float, ...] = Field(min_length=1)
    verdict_epsilon: dict[Literal["linf", "l2", "l1"], float] = Field(default={})
    images: Annotated[Whole, Field(gt=0, le=1_000_000_000)] | None = None
    seeds: Annotated[Whole, Field(gt=0, le=MOST_SEEDS)] = 3
    surrogate_seeds: Annotated[Whole, Field(gt=0, le=MOST_SEEDS)] | None = None
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    batch_size: Count | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    save_images: YesNo = False
    strict_versions: YesNo = False
    keep_epochs: int | str | None = None

    @field_validator("epsilons", mode="before")
    @classmethod
    def _numbers(cls, values: object) -> tuple[float, ...]:
        try:
            return read_epsilons(values)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("epsilons")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"an epsilon is given twice (got {', '.join(f'{value:g}' for value in values)})")
        return tuple(sorted({0.0, *values}))

    @field_validator("keep_epochs", mode="before")
    @classmethod
    def _epochs(cls, value: object) -> object:
        try:
            return value if value is None or value == ALL else read_kept(value)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("verdict_epsilon", mode="before")
    @classmethod
    def _by_norm(cls, value: object) -> object:
        by_norm = value if isinstance(value, dict) else dict.fromkeys(("linf", "l2", "l1"), value)
        try:
            return {norm: read_epsilon(epsilon) for norm, epsilon in by_norm.items()}
        except UsageError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _declared_epsilons_are_swept(self) -> SweepSpec:
        for epsilon in self.verdict_epsilon.values():
            if epsilon not in self.epsilons or epsilon == 0:
                known = ", ".join(f"{one:g}" for one in self.epsilons if one > 0)
                raise ValueError(f"verdict_epsilon must be one of the epsilons above 0 ({known}; got {epsilon:g})")
        return self

    @model_validator(mode="after")
    def _someone_to_attack(self) -> SweepSpec:
        if not self.surrogate_names or not self.target_names:
            raise ValueError("name at least one model: models is empty")
        if FOREIGN in (*self.models, *self.target_names):
            raise ValueError(f"{FOREIGN!r} stands for models to craft on. Name it among the surrogates")
        if self.surrogate_seeds is not None and self.surrogate_seeds > self.seeds:
            raise ValueError(f"surrogate_seeds must be at most seeds ({self.seeds}; got {self.surrogate_seeds})")
        return self

    def as_stored(self) -> dict[str, Any]:
        """Return it as plain data; a field that earlier releases did not know is left out where it says nothing."""
        later = ("batch_size", "recipes", "surrogate_seeds", "keep_epochs", "verdict_epsilon", "strict_versions")
        silent = {name for name in later if not getattr(self, name)}
        return self.model_dump(mode="json", exclude=silent)

    @property
    def crossed_models(self) -> tuple[str, ...]:
        """The models under all recipes."""
        return crossed_names(self.models, self.recipes)

    @property
    def surrogate_names(self) -> tuple[str, ...]:
        """The models that adversarial images are crafted on, without repeats."""
        return tuple(dict.fromkeys(self.crossed_models if self.surrogates is None else self.surrogates))

    @property
    def target_names(self) -> tuple[str, ...]:
        """The models that are scored, without repeats."""
        return tuple(dict.fromkeys(self.crossed_models if self.targets is None else self.targets))


def read_sweep(path: Path) -> SweepSpec:
    """Read a sweep file."""
    text, where = read_text(path), shown_path(path)
    return check(SweepSpec, parse_toml(text, where), where, text)
