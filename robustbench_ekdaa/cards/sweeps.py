"""Sweep files: what to train, attack and score."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..errors import UsageError
from ..files import shown_path
from .base import Card, Positive, check, read_toml
from .epsilons import read_epsilons


class SweepSpec(Card):
    """What to train, attack and score: the content of a sweep file or of the command line's flags.

    Attributes:
        datasets: data set names.
        models: model card names; each is trained with ``seeds`` seeds.
        surrogates: the models adversarial images are crafted on (default: all of ``models``).
        targets: the models that are scored (default: all of ``models``).
        attacks: attack and suite names.
        epsilons: perturbation sizes in pixels of [0, 1], in any order, or a text such as ``"0:0.3:0.03"``; see
            `read_epsilons`. They are kept ascending, and 0 is always scored, as the clean images.
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


def read_sweep(path: Path) -> SweepSpec:
    """Read a sweep file."""
    return check(SweepSpec, read_toml(path), shown_path(path))
