"""How far a run is: what is done, what a command has in hand, what failed and why, and what is missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ..learning.job import checkpoint_path
from ..storing.keys import CraftingKey
from ..storing.outcomes import AttackRecord, ModelRecord
from ..storing.selection import Everything, Recorded, newest_data, shown_images
from ..storing.store import Store, reading
from .at_work import AtWork, at_work

ModelState = Literal["trained", "failed", "missing"]


@dataclass(frozen=True)
class ModelStatus:
    """How far one model is.

    Attributes:
        model: what it is called: card, data set and seed; its key, where a run of an early release does not tell.
        state: "trained", "failed" or "missing".
        cause: why it failed or is missing; None for a trained model.
        key: names its checkpoint.

    """

    model: str
    state: ModelState
    cause: str | None
    key: str


@dataclass(frozen=True)
class AttackStatus:
    """How far one attack is on one data set, over all surrogates, targets and epsilons.

    Attributes:
        dataset: the data set's name.
        attack: the attack's name; None for the pass of the clean images.
        cells: how many the recorded sweeps ask for, but for those that need a failed model.
        stored: how many of these are there.
        failed: how many are not there because their crafting failed.

    """

    dataset: str
    attack: str | None
    cells: int
    stored: int
    failed: int = 0

    @property
    def missing(self) -> int:
        """How many are not there, and not because something failed."""
        return self.cells - self.stored - self.failed


@dataclass(frozen=True)
class CraftingStatus:
    """A crafting that failed; the next sweep that asks for it tries it again.

    Attributes:
        dataset: the data set's name.
        attack: the attack's name.
        surrogate: what the attacked models are called; None for an attack on nobody.
        epsilons: where outcomes are missing for it.
        cause: why it failed.

    """

    dataset: str
    attack: str
    surrogate: str | None
    epsilons: tuple[float, ...]
    cause: str


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        at_work: the command that is at work in it and what it has in hand; None if there is none.
        models: all models that were trained here, or that the recorded sweeps ask for.
        attacks: per data set and attack, what the recorded sweeps ask for. Of a card that was changed and of images
            that were replaced, only the newest count.
        craftings: those of them that failed.

    """

    at_work: AtWork | None
    models: tuple[ModelStatus, ...]
    attacks: tuple[AttackStatus, ...]
    craftings: tuple[CraftingStatus, ...] = ()

    @property
    def failed(self) -> tuple[ModelStatus, ...]:
        """The models that failed."""
        return tuple(model for model in self.models if model.state == "failed")

    @property
    def missing(self) -> tuple[ModelStatus, ...]:
        """The models that are not there."""
        return tuple(model for model in self.models if model.state == "missing")

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "at_work": self.at_work and self.at_work.model_dump(),
            "models": [asdict(model) for model in self.models],
            "attacks": [{**asdict(attack), "missing": attack.missing} for attack in self.attacks],
            "failed_craftings": [asdict(crafting) for crafting in self.craftings],
        }


def run_status(run: Path) -> RunStatus:
    """Return how far a run is, also while a command works in it; nothing is changed.

    Raises:
        UsageError: when there are no results, or they are damaged.

    """
    working = at_work(run)
    with reading(run) as store:
        stored = store.everything()
        wanted = _Wanted(stored)
        attacks, craftings = [], []
        for name, images in wanted.images.items():
            some, failed = wanted.progress(store, name, images)
            attacks += some
            craftings += failed
    models = tuple(_of_model(key, record, run) for key, record in stored.models.items() if wanted.is_newest(key))
    lacking = tuple(
        ModelStatus(label, "missing", "not trained yet", key)
        for key, label in wanted.labels.items()
        if key not in stored.models
    )
    return RunStatus(working, models + lacking, tuple(attacks), tuple(craftings))


def _of_model(key: str, record: ModelRecord, run: Path) -> ModelStatus:
    label = _label_of(record)
    if record.status == "failed":
        return ModelStatus(label, "failed", record.error, key)
    if not checkpoint_path(run, key).exists():
        return ModelStatus(label, "missing", "its checkpoint is gone", key)
    return ModelStatus(label, "trained", None, key)


def _label_of(record: ModelRecord) -> str:
    return f"{record.name} on {record.dataset}, seed {record.seed}"


class _Wanted:
    """What the recorded sweeps ask for, of everything the newest form.

    Attributes:
        images: by data set, the key of the images that its newest sweep is about.
        labels: what the models are called that the sweeps on these ask for, by key.

    """

    def __init__(self, stored: Everything) -> None:
        self.stored = stored
        newest = newest_data(stored.sweeps, stored.data)
        self.images: dict[str, str] = {}
        for name, fingerprint in reversed(newest.items()):
            shown = shown_images(stored.sweeps, fingerprint, stored.attacks)
            if shown and not shown[0].imports_only:
                self.images[name] = shown[0].image_set
        self.labels: dict[str, str] = {}
        self._recorded = {_label_of(record): key for key, record in stored.models.items()}
        self._keys: dict[str, str] = {}  # of each label, the newest model
        for images in self.images.values():
            for place, sweep in enumerate(self._sweeps(images)):
                for key in (*sweep.roles.targets, *sweep.roles.surrogates):
                    label = self._label(key, sweep, newest=place == 0)
                    if label is not None and self._keys.setdefault(label, key) == key:
                        self.labels[key] = label

    def is_newest(self, key: str) -> bool:
        """Whether no other model of the same card and seed took a model's place."""
        label = _label_of(self.stored.models[key])
        return self._keys.get(label, self._recorded[label]) == key

    def _sweeps(self, images: str) -> list[Recorded]:
        return [one for one in self.stored.sweeps if one.image_set == images and one.roles.imports is None]

    def _label(self, key: str, sweep: Recorded, *, newest: bool) -> str | None:
        """Return what a model is called; None for one of an earlier sweep of which nothing is known."""
        record = self.stored.models.get(key)
        if record is not None:
            return _label_of(record)
        return (sweep.roles.labels or {}).get(key, key if newest else None)

    def progress(self, store: Store, dataset: str, images: str) -> tuple[list[AttackStatus], list[CraftingStatus]]:
        """Return how far the attacks on one data set are, after the pass of the clean images, and what failed."""
        dead = {key for key, record in self.stored.models.items() if record.status == "failed"}
        alive = {key for key in self.labels if key not in dead}
        there, causes = store.stored(images), store.failures(images)
        craftings: dict[str, dict[CraftingKey, set[str]]] = {}
        models: dict[str, None] = {}
        current: dict[str, str] = {}
        for sweep in self._sweeps(images):
            models |= dict.fromkeys(key for key in (*sweep.roles.targets, *sweep.roles.surrogates) if key in alive)
            targets = alive.intersection(sweep.roles.targets)
            for key in sweep.roles.attacks:
                attack = self.stored.attacks[key]
                if current.setdefault(attack.name, key) == key:
                    found = craftings.setdefault(key, {})
                    for surrogate, epsilon in product(_surrogates(attack, sweep, alive), sweep.roles.epsilons):
                        if epsilon > 0:
                            found.setdefault(CraftingKey(surrogate, key, epsilon), set()).update(targets)
        attacks = [AttackStatus(dataset, None, len(models), len(models.keys() & there.targets(None)))]
        failed: dict[tuple[str, str | None, str], list[float]] = {}
        for key, wanted in craftings.items():
            name, stored, without = self.stored.attacks[key].name, 0, 0
            for crafting, targets in wanted.items():
                done = len(targets & there.targets(crafting))
                stored += done
                if crafting in causes and done < len(targets):
                    without += len(targets) - done
                    failed.setdefault((name, crafting.surrogate, causes[crafting]), []).append(crafting.epsilon)
            attacks.append(AttackStatus(dataset, name, sum(map(len, wanted.values())), stored, without))
        return attacks, [
            CraftingStatus(dataset, name, self._surrogate(surrogate), tuple(sorted(epsilons)), cause)
            for (name, surrogate, cause), epsilons in failed.items()
        ]

    def _surrogate(self, key: str | None) -> str | None:
        """Return what a model or an ensemble is called."""
        if key is None:
            return None
        members = next((one.roles.ensembles[key] for one in self.stored.sweeps if key in one.roles.ensembles), [key])
        return " + ".join(sorted(self.labels.get(member, member) for member in members))


def _surrogates(attack: AttackRecord, sweep: Recorded, alive: set[str]) -> list[str | None]:
    """Return what an attack is crafted on in a sweep."""
    if not attack.card.get("steps", 1):
        return [None]
    if attack.together:
        return [key for key, members in sweep.roles.ensembles.items() if alive.issuperset(members)]
    return [key for key in sweep.roles.surrogates if key in alive]
