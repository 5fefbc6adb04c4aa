"""Scoring adversarial images from a file: crafted elsewhere, or saved by a sweep."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..arguments import whole, whole_numbers
from ..cards import MOST_SEEDS, NAME, AnyModelCard, Workspace, content_hash, read_epsilons, shown_path
from ..crafting import AdversarialImages, check_adversarial, check_epsilons, load_adversarial
from ..data import Dataset, shared_dataset
from ..errors import UsageError, WorkFailed, shown
from ..executing.executor import Executor
from ..executing.luggage import Luggage, load_unchanged, luggage_of
from ..executing.ray_cluster import RayCluster
from ..files import Stamp, stamp
from ..learning import ModelJob
from ..progress import Progress, Silent
from ..storing.keys import IMPORTED, CraftingKey, OutcomeKey
from ..storing.outcomes import AttackRecord, CraftingRecord
from ..storing.packing import Roles
from ..storing.store import Store
from ..text import visible
from ..zoo import Zoo
from .driver import WorkDone, data_record, image_record
from .jobs import SHOWN_IMAGES, Checkpoints, predict
from .plan import ImageSet, ensemble_key, model_jobs, refuse_twins
from .sweep import at_work_on, check_models, check_workers, choose_device, predict_clean
from .taking import find_models, take_models
from .trainings import train_models, trained_models

BATCH = 250  # images scored at a time


@dataclass(frozen=True, kw_only=True)
class ImportSpec:
    """What to score, and with which models.

    Attributes:
        file: a safetensors or NPZ archive; see `crafting.archive`.
        dataset: the data set whose test images it changes.
        models: model card names; each is trained with ``seeds`` seeds.
        seeds: how many training seeds, 0 to seeds - 1.
        name: what to call the attack (default: the file's name).
        norm: for files that do not say it.
        epsilons: likewise.
        indices: likewise.

    """

    file: Path
    dataset: str
    models: Sequence[str | AnyModelCard]
    seeds: int = 3
    name: str | None = None
    norm: str | None = None
    epsilons: Sequence[float] | None = None
    indices: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", whole("seeds", self.seeds, least=1, most=MOST_SEEDS))
        if self.indices is not None:
            object.__setattr__(self, "indices", whole_numbers("indices", self.indices))

    @property
    def attack(self) -> str:
        """The attack's name; raises UsageError for one that no card could have."""
        name = self.file.stem if self.name is None else self.name
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UsageError(
                f"{shown_path(self.file)}: cannot give an attack the name {shown(name)}. Choose one with --name."
            )
        return name

    def load(self) -> tuple[AdversarialImages, str]:
        """Return what the file holds and the hash of that; it is read once, unless it changes."""
        epsilons = None if self.epsilons is None else read_epsilons(self.epsilons)
        indices = None if self.indices is None else tuple(self.indices)
        return _load(self.file, self.norm, epsilons, indices, stamp(self.file))

    def facts(self, models: Sequence[AnyModelCard]) -> dict[str, Any]:
        """Return the request as plain data."""
        return {
            "imports": visible(str(self.file)),
            "name": self.attack,
            "datasets": [self.dataset],
            "models": list(dict.fromkeys(card.name for card in models)),
            "seeds": self.seeds,
        }


def score_images(
    spec: ImportSpec,
    run: Path | str,
    *,
    workspace: Workspace | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    progress: Progress | None = None,
    command: str | None = None,
    zoo: Zoo | None = None,
) -> WorkDone:
    """Let models predict the classes of images from a file, and store it; doing it again makes no model call.

    Where the file holds all images of the run's newest sweep, it is scored on exactly these, so that both stand in one
    table; else on all images it holds. If the file names the model or ensemble it was crafted on, and the run holds
    that, so do the results; else they say "imported".

    Args:
        spec: what to score.
        run: the run folder; models that it does not hold are trained.
        workspace: where the cards are (default: the current folder and the package's own).
        device: "auto", "cpu", "cuda", ...
        workers: jobs run side by side in so many processes; None: one per core on a CPU; or a `RayCluster`.
        progress: gets lines and bars.
        command: what asked for it, kept for reports.
        zoo: where models that the run lacks are taken from; what it does not hold is trained.

    Raises:
        UsageError: before anything is computed, for whatever in the request or the file is wrong.
        WorkFailed: when the run folder cannot be written; all that was stored stays.
    """
    workspace, progress, device = workspace or Workspace(), progress or Silent(), choose_device(device, workers)
    workers = check_workers(workers)
    if spec.attack in workspace.attacks or spec.attack in workspace.suites:
        raise UsageError(f"{spec.attack}: an attack card has that name. Choose another with --name.")
    if not spec.models:
        raise UsageError("name at least one model: there is nobody to score")
    cards = [workspace.model(model) if isinstance(model, str) else model for model in spec.models]
    dataset, (found, key) = shared_dataset(spec.dataset), spec.load()
    check_adversarial(found, dataset.test.images, where=shown_path(spec.file), fingerprint=dataset.fingerprint)
    check_epsilons(found.norm, dataset.image_shape, found.epsilons, shown_path(spec.file))
    jobs = model_jobs(cards, dataset, spec.seeds)
    refuse_twins(jobs)
    jobs = tuple({job.key: job for job in jobs}.values())  # a model may be named twice
    check_models(jobs, dataset, Path(run), device=device, workers=workers)
    taken = find_models(zoo, jobs, dataset, Path(run), progress)
    with at_work_on(run, progress, workers, device, command) as (store, runner, progress):
        known = store.attacks().values()
        if any(record.name == spec.attack and not record.imported for record in known):
            raise UsageError(f"{spec.attack}: an attack of this run has that name. Choose another with --name.")
        take_models(taken, store, progress)
        importing = _Import(spec, found, key, dataset, jobs, store, runner, device, progress)
        return importing.run(spec.facts(cards), command)


@dataclass
class _Import:
    """One file's way into the store."""

    spec: ImportSpec
    found: AdversarialImages
    key: str
    dataset: Dataset
    jobs: tuple[ModelJob, ...]
    store: Store
    runner: Executor
    device: str
    progress: Progress

    def run(self, facts: dict[str, Any], command: str | None) -> WorkDone:
        """Record, train, predict and score what is missing."""
        images, done = self._images(), WorkDone()
        surrogate, members = self._crafted_on()
        self._record(images, surrogate, members, facts, command)
        stored = self.store.stored(images.key)
        records = train_models(self.jobs, self.store, device=self.device, runner=self.runner, on_trained=done.count)
        done.failed += [record for record in records if record.status == "failed"]
        jobs = [job for job, record in zip(self.jobs, records, strict=True) if record.status == "trained"]
        unseen = [job for job in jobs if OutcomeKey.clean(job.key) not in stored]
        predict_clean(unseen, images, self.store, self.runner, device=self.device, batch_size=BATCH)
        work, trained = [], trained_models(self.store)
        for job in jobs:
            craftings = [CraftingKey(surrogate, self.key, epsilon) for epsilon in self._epsilons]
            missing = tuple(crafting.epsilon for crafting in craftings if crafting.of(job.key) not in stored)
            if missing:
                work.append(ScoreFile(job, self.spec, self.key, images.indices, missing, trained, self.device))
        for position, predictions in self.runner.run(work):
            target = work[position].job.key
            outcomes = {
                OutcomeKey(surrogate, self.key, epsilon, target): classes for epsilon, classes in predictions.items()
            }
            self.store.add_outcomes(images.key, outcomes)
            done.crafted += 1
        return done

    @property
    def _epsilons(self) -> list[float]:
        return [epsilon for epsilon in self.found.epsilons if epsilon > 0]  # epsilon 0 is the clean pass

    def _images(self) -> ImageSet:
        """Choose the images: the newest sweep's if the file has them all, else the file's."""
        swept = self.store.swept_images(self.dataset.fingerprint)
        held = self.found.indices.tolist()
        if swept is not None and set(held).issuperset(swept[1].tolist()):
            key, indices = swept
            if len(indices) < len(held):
                self.progress.line(f"{len(indices)} of the file's {len(held)} images are the sweep's: only these count")
            return ImageSet(key, torch.from_numpy(indices))
        if swept is not None:
            self.progress.line("the file does not hold all images of this run's sweep: it gets a table of its own")
        return ImageSet(content_hash({"data": self.dataset.fingerprint, "indices": held}), self.found.indices)

    def _crafted_on(self) -> tuple[str | None, list[str]]:
        """Return the surrogate's key, None for noise, and the models it stands for, if the run holds those."""
        members, named = self.found.facts.get("members"), self.found.facts.get("surrogate")
        if members == []:  # noise
            return None, []
        trained = {key for key, record in self.store.models().items() if record.status == "trained"}
        if members and trained.issuperset(members):
            key = members[0] if len(members) == 1 else ensemble_key(members)
            if named == key:
                return key, members
        return IMPORTED, []

    def _record(
        self,
        images: ImageSet,
        surrogate: str | None,
        members: list[str],
        facts: dict[str, Any],
        command: str | None,
    ) -> None:
        """Record what is scored, and keep the first images to show."""
        key, spec, found = self.key, self.spec, self.found
        card = {"kind": IMPORTED, "file": visible(str(spec.file)), "says": found.facts}
        roles = Roles(
            surrogates=[],
            targets=[job.key for job in self.jobs],
            attacks=[],
            epsilons=[],
            ensembles={surrogate: members} if surrogate and len(members) > 1 else {},
            imports={key: surrogate},
        )
        self.store.add_sweep(
            data_record(self.dataset),
            image_record(self.dataset, images),
            [AttackRecord(key, spec.attack, f"{spec.attack} (imported)", found.norm, card)],
            facts,
            roles,
            command,
        )
        rows = rows_of(found, images.indices[:SHOWN_IMAGES])
        pictures = zip(found.epsilons, found.images[:, rows].numpy(), strict=True)
        craftings = [
            CraftingRecord(CraftingKey(surrogate, key, epsilon), {}, some) for epsilon, some in pictures if epsilon > 0
        ]
        self.store.add_outcomes(images.key, {}, craftings)


def content_key(found: AdversarialImages) -> str:
    """Return the hash of what a file holds, whatever it is called."""
    pixels = hashlib.sha256(found.images.contiguous().numpy().tobytes()).hexdigest()
    return content_hash([IMPORTED, pixels, list(found.epsilons), found.norm, found.indices.tolist()])


def rows_of(found: AdversarialImages, indices: torch.Tensor) -> list[int]:
    """Return where a file has the images of these positions in the test split."""
    place = {index: row for row, index in enumerate(found.indices.tolist())}
    return [place[index] for index in indices.tolist()]


@lru_cache(maxsize=1)  # a file may be large, and every model of a process wants the same one
def _load(
    file: Path,
    norm: str | None,
    epsilons: tuple[float, ...] | None,
    indices: tuple[int, ...] | None,
    as_it_is: Stamp | None,
) -> tuple[AdversarialImages, str]:
    found = load_adversarial(file, norm=norm, epsilons=epsilons, indices=indices)
    return found, content_key(found)


@dataclass(frozen=True)
class ScoreFile:
    """Pass a file's images through one model.

    Attributes:
        job: the model.
        spec: the file and what it does not say of itself.
        key: what the file held when it was checked.
        indices: positions in the test split of the images to score.
        epsilons: which of the file's epsilons to score.
        trained: the run's models.
        device: where to compute.

    """

    job: ModelJob
    spec: ImportSpec
    key: str
    indices: torch.Tensor
    epsilons: tuple[float, ...]
    trained: Checkpoints
    device: str

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"scoring {self.job.label}"

    @property
    def luggage(self) -> Luggage:
        """What it needs on another machine."""
        needed = luggage_of(self.trained.run, (self.job.loaded_by, self.job.fingerprint), [self.job])
        return replace(needed, files={**needed.files, f"{IMPORTED}/{self.spec.file.name}": self.spec.file})

    def at(self, run: Path) -> ScoreFile:
        """Return the same job for another run folder."""
        spec = replace(self.spec, file=run / IMPORTED / self.spec.file.name)
        return replace(self, spec=spec, trained=replace(self.trained, run=run))

    def __call__(self, progress: Progress) -> dict[float, NDArray[np.int64]]:
        """Return, per epsilon, the class predicted for each image, (N,)."""
        found, key = self.spec.load()
        if key != self.key:
            raise WorkFailed(f"{shown_path(self.spec.file)} changed while it was scored. Run the same command again.")
        dataset = load_unchanged(self.job.loaded_by, self.job.fingerprint)
        network = self.trained.load(self.job, dataset, self.device)
        rows = rows_of(found, self.indices)
        predictions = {}
        for epsilon in self.epsilons:
            batches = torch.split(found.images[found.epsilons.index(epsilon), rows], BATCH)
            predictions[epsilon] = np.concatenate(
                [predict(network, batch.to(self.device), self.job.label) for batch in batches]
            )
        return predictions
