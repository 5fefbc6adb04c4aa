"""Which of a run's outcomes are shown: of everything that was replaced since, only the newest form counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .keys import IMPORTED, CraftingKey
from .outcomes import AttackRecord, DataRecord, ImageRecord, ModelRecord
from .packing import Roles
from .sealed import Damaged


@dataclass(frozen=True)
class Recorded:
    """A sweep, or an import of images, as it was recorded."""

    fingerprint: str
    image_set: str
    spec: dict[str, Any]
    roles: Roles
    command: str | None


@dataclass(frozen=True)
class ShownImages:
    """A set of images whose outcomes are shown; of sweeps and imports, or of imports alone."""

    image_set: str
    imports_only: bool = False


def newest_data(sweeps: Sequence[Recorded], data: Mapping[str, DataRecord]) -> dict[str, str]:
    """Return the fingerprint of each data set by name; of data that were replaced under one name, the newest.

    Args:
        sweeps: the newest first.
        data: all data by fingerprint.
    """
    newest: dict[str, str] = {}
    for sweep in sweeps:
        newest.setdefault(known(data, sweep.fingerprint, "data set").name, sweep.fingerprint)
    return newest


def shown_images(
    sweeps: Sequence[Recorded], fingerprint: str, attacks: Mapping[str, AttackRecord]
) -> list[ShownImages]:
    """Choose the images to show of one data set: the newest sweep's, then those that only imports have.

    Args:
        sweeps: the newest first.
        fingerprint: the data set.
        attacks: all attacks by key.
    """
    swept: list[ShownImages] = []
    aside: dict[str, ShownImages] = {}
    told: set[str] = set()
    for sweep in sweeps:
        if sweep.fingerprint != fingerprint:
            continue
        if sweep.roles.imports is None:
            swept = swept or [ShownImages(sweep.image_set)]
            continue
        names = {known(attacks, key, "attack").name for key in sweep.roles.imports}
        if not told.issuperset(names):  # what has one name is shown once, on the newest images
            told |= names
            aside[sweep.image_set] = ShownImages(sweep.image_set, imports_only=True)
    return [*swept, *(one for one in aside.values() if one.image_set not in {shown.image_set for shown in swept})]


@dataclass
class Joined:
    """The roles of all sweeps on the images that are shown.

    Attributes:
        ensembles: the members of each.
        imports: for every attack whose images came from a file, the surrogate; None for noise.
        spec: the newest sweep's specification; an import's only if there was no sweep.
        foreign: the surrogates whose cards have the role "surrogate".

    """

    surrogates: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    attacks: list[str] = field(default_factory=list)
    epsilons: list[float] = field(default_factory=list)
    ensembles: dict[str, list[str]] = field(default_factory=dict)
    imports: dict[str, str | None] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def without_repeats(self) -> Joined:
        """Return the same with every key once, and the epsilons in order."""
        return replace(
            self,
            surrogates=list(dict.fromkeys(self.surrogates)),
            targets=list(dict.fromkeys(self.targets)),
            foreign=list(dict.fromkeys(self.foreign)),
            attacks=list(dict.fromkeys(self.attacks)),
            epsilons=sorted(set(self.epsilons)),
        )

    def models(self) -> list[str]:
        """Return the keys of all models, targets first."""
        members = [member for several in self.ensembles.values() for member in several]
        singles = (key for key in self.imports.values() if key not in (IMPORTED, *self.ensembles))
        crafted_on = [key for key in singles if key is not None]
        return list(dict.fromkeys([*self.targets, *self.surrogates, *members, *crafted_on]))

    def play(self, crafting: CraftingKey) -> bool:
        """Whether the images of a crafting play a part."""
        surrogate, attack, epsilon = crafting
        if attack in self.imports:
            return self.imports[attack] == surrogate
        takes_part = surrogate is None or surrogate in self.surrogates or surrogate in self.ensembles
        return takes_part and attack in self.attacks and epsilon in self.epsilons


def join_roles(
    sweeps: Sequence[Recorded],
    shown: ShownImages,
    models: Mapping[str, ModelRecord],
    attacks: Mapping[str, AttackRecord],
) -> Joined:
    """Join the roles of all sweeps on these images; of a card that was changed only the newest form counts.

    Args:
        sweeps: the newest first.
        shown: the images.
        models: all models by key.
        attacks: all attacks by key.
    """
    joined = Joined()
    newest: dict[Any, str] = {}

    def current(key: str) -> bool:
        record = models.get(key)  # None: the sweep was stopped before it was trained
        return record is not None and newest.setdefault((record.name, record.seed), key) == key

    def named(key: str) -> bool:
        return newest.setdefault(known(attacks, key, "attack").name, key) == key

    for sweep in sweeps:
        roles = sweep.roles
        if sweep.image_set != shown.image_set or (shown.imports_only and roles.imports is None):
            continue
        joined.surrogates += filter(current, roles.surrogates)
        joined.targets += filter(current, roles.targets)
        joined.foreign += filter(current, roles.foreign or ())
        joined.attacks += filter(named, roles.attacks)
        joined.epsilons += roles.epsilons
        imports = {key: on for key, on in (roles.imports or {}).items() if named(key)}
        joined.imports = {**imports, **joined.imports}
        # Images that were crafted on older models stay what they are.
        kept = [key for key, members in roles.ensembles.items() if all(map(current, members))]
        joined.ensembles |= {key: roles.ensembles[key] for key in (*kept, *imports.values()) if key in roles.ensembles}
        if not joined.spec or ("imports" in joined.spec and roles.imports is None):
            joined.spec = sweep.spec
    return joined.without_repeats()


def known(records: Mapping[str, Any], key: str, kind: str) -> Any:
    """Return what a key stands for; raises Damaged if it stands for nothing."""
    if key not in records:
        raise Damaged(f"there is no {kind} {key[:40]!r}")
    return records[key]


def _check_images(images: ImageRecord, classes: int) -> None:
    """Raise Damaged unless these can be images of so many classes."""
    if len(images.labels) != len(images.indices):
        raise Damaged("images and labels do not belong together")
    if images.indices.min() < 0 or len(np.unique(images.indices)) < len(images.indices):
        raise Damaged("images are not told apart")
    if images.labels.min() < 0 or images.labels.max() >= classes:
        raise Damaged(f"labels are not below {classes}")


@dataclass(frozen=True)
class Everything:
    """What a store holds beside outcomes; the newest sweep first."""

    data: dict[str, DataRecord]
    image_sets: dict[str, ImageRecord]
    models: dict[str, ModelRecord]
    attacks: dict[str, AttackRecord]
    sweeps: list[Recorded]

    def images(self, shown: ShownImages, fingerprint: str) -> ImageRecord:
        """Return a set of images of some data; raises Damaged for one that is not there or of others."""
        found: ImageRecord = known(self.image_sets, shown.image_set, "set of images")
        if found.fingerprint != fingerprint:
            raise Damaged("images and data do not belong together")
        _check_images(found, len(self.data[fingerprint].classes))
        return found

    def replaced(self, fingerprint: str) -> list[str]:
        """Return the keys of the sets of images of other data of the same name."""
        name = self.data[fingerprint].name
        others = {data.fingerprint for data in self.data.values() if data.name == name} - {fingerprint}
        return [key for key, images in self.image_sets.items() if images.fingerprint in others]
