"""The work of a sweep as picklable jobs: pure functions of their content, which the driver stores the results of."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..computing import ordinary_torch
from ..crafting import Crafted, Pool, Precision, craft
from ..crafting.surrogates import differ
from ..data import Dataset
from ..environment import Environment, as_text, environment
from ..errors import TrainingDiverged, UsageError, WorkFailed, told
from ..executing.executor import PartlyDone
from ..executing.luggage import Luggage, load_unchanged, luggage_of
from ..learning import ModelJob, TrainingJob, load_model, make_model
from ..learning.job import partial_path
from ..networks.wrappers import WRAP_RANDOM
from ..progress import Progress
from ..stopping import go_on
from ..storing.outcomes import ModelRecord
from .batches import fitting_batch
from .images import ImageFile
from .plan import CraftJob

STEADY = 32  # images that a network must answer twice alike
SHOWN_IMAGES = 4  # adversarial images kept per crafting, for reports to show


def record_of(job: ModelJob, facts: Mapping[str, Any] | None = None) -> ModelRecord:
    """Return the record of a model, with the facts of its checkpoint once it has one."""
    record = ModelRecord(
        *(job.key, job.card.name, job.card.label, job.card.rule_name, job.dataset, job.seed),
        fingerprint=job.fingerprint,
    )
    if facts is None:
        return record
    metrics = {key: value for key, value in facts.items() if key not in ("identity", "layers")}
    metrics["network"] = job.network  # tells which frozen card is its control
    if isinstance(job, TrainingJob):
        metrics["training"] = job.identity  # tells its rule's options and its recipe
        if job.strict:
            metrics["strict"] = job.strict
        if job.whole.key != job.key:
            metrics["epoch_of"] = job.whole.key
    return replace(record, metrics=metrics)


def refuse_another_environment(strict: str, device: str, what: str, library: str | None = None) -> None:
    """Raise WorkFailed where something that is to be made in one environment alone would be made in another."""
    here = as_text(environment(device, library))
    if strict and here != strict:
        raise WorkFailed(f"{what}: planned with {strict}, and here is {here}. Use workers with the same versions.")


@dataclass(frozen=True)
class TrainModel:
    """Train one model, or take over a ready one; an error that concerns it alone becomes a failed record.

    Attributes:
        job: the model.
        run: the run folder.
        device: where to compute.
        kept: earlier epochs of its training that are models too, the later first.

    """

    job: ModelJob
    run: Path
    device: str
    kept: tuple[TrainingJob, ...] = ()

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"the {'training' if isinstance(self.job, TrainingJob) else 'loading'} of {self.job.label}"

    @property
    def luggage(self) -> Luggage | None:
        """What it needs on another machine; a ready model is taken over where its files are."""
        jobs = [job for job in (self.job, *self.kept) if isinstance(job, TrainingJob)]
        partial = [partial_path(self.run, job.key) for job in jobs]
        dataset = self.job.loaded_by, self.job.fingerprint
        return luggage_of(self.run, dataset, jobs, files=partial) if jobs else None

    def at(self, run: Path) -> TrainModel:
        """Return the same job for another run folder."""
        return replace(self, run=run)

    def __call__(self, progress: Progress) -> list[ModelRecord]:
        """Return the models' records; their checkpoints are in the run folder."""
        # A kept model is found now, unless the training had been stopped after it, or diverged before.
        jobs = (self.job, *self.kept)
        return [self._record(job, self.kept[place:], progress) for place, job in enumerate(jobs)]

    def _record(self, job: ModelJob, kept: Sequence[TrainingJob], progress: Progress) -> ModelRecord:
        record = record_of(job)
        if isinstance(job, TrainingJob):
            refuse_another_environment(job.strict, self.device, self.label)
        try:
            facts = make_model(
                job,
                load_unchanged(job.loaded_by, job.fingerprint),
                self.run,
                kept,
                device=self.device,
                progress=progress,
            )
        except TrainingDiverged as error:
            progress.line(f"failed: {error}")
            diverged = {"diverged": True, "epoch": error.epoch}
            return replace(record, status="failed", error=str(error), metrics=diverged)
        except (UsageError, WorkFailed):
            raise
        except (Exception, SystemExit) as error:
            go_on()
            # A plugged-in rule may raise anything; the other models' results must not be lost to it.
            message = f"{job.card.name} (seed {job.seed}) failed in training: {told(error)}"
            progress.line(f"failed: {message}")
            return replace(record, status="failed", error=message)
        return record_of(job, facts)


@ordinary_torch(gradients=False)
def predict(network: nn.Module, images: Tensor, model: str = "the model") -> NDArray[np.int64]:
    """Return the class a network predicts for each image, shape (N,); NaN logits count as class K, never right.

    The network is shown a copy: its forward may write to it, and others are shown the same images.

    Raises:
        WorkFailed: when the network raises anything; it names the model.
    """
    with torch.inference_mode():
        logits = _answer(network, images, model)
        predictions = torch.where(torch.isfinite(logits).all(1), logits.argmax(1), logits.shape[1])
    classes: NDArray[np.int64] = predictions.cpu().numpy()
    return classes


def _answer(network: nn.Module, images: Tensor, model: str) -> Tensor:
    try:
        logits: Tensor = network(images.clone())
    except (Exception, SystemExit) as error:  # somebody's module may raise anything
        raise WorkFailed(f"{model} fails on {len(images)} images: {told(error)}") from error
    return logits


def check_steady(model: str, network: nn.Module, images: Tensor) -> None:
    """Raise UsageError for a network that answers the same images in two ways: no outcome of it could be repeated."""
    with torch.inference_mode():
        first, second = (_answer(network, images, model) for _ in range(2))
    if differ(first, second):
        raise UsageError(
            f"{model}: answers the same images differently from one time to the next: its forward draws random "
            f"numbers, or remembers. {WRAP_RANDOM}"
        )


@dataclass(frozen=True)
class Checkpoints:
    """A run's trained models, and the digests of their files by key, as far as the store has noted any."""

    run: Path
    digests: Mapping[str, str]

    def load(self, job: ModelJob, dataset: Dataset, device: str) -> nn.Module:
        """Return a trained model; raises UsageError for a file that is not the one it was trained to."""
        return load_model(job, dataset, self.run, device, digest=self.digests.get(job.key))


@dataclass(frozen=True)
class PredictClean:
    """Pass the clean images through one model."""

    job: ModelJob
    indices: Tensor
    trained: Checkpoints
    device: str
    batch_size: int | None

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"the clean pass of {self.job.label}"

    @property
    def luggage(self) -> Luggage:
        """What it needs on another machine."""
        return luggage_of(self.trained.run, (self.job.loaded_by, self.job.fingerprint), [self.job])

    def at(self, run: Path) -> PredictClean:
        """Return the same job for another run folder."""
        return replace(self, trained=replace(self.trained, run=run))

    def __call__(self, progress: Progress) -> NDArray[np.int64]:
        """Return the class predicted for each image, (N,)."""
        dataset = load_unchanged(self.job.loaded_by, self.job.fingerprint)
        network = self.trained.load(self.job, dataset, self.device)
        images = dataset.test.images[self.indices]
        check_steady(self.job.label, network, images[:STEADY].to(self.device))
        batches = torch.split(images, self.batch_size or fitting_batch([network], images[:1].to(self.device)))
        return np.concatenate([predict(network, batch.to(self.device), self.job.label) for batch in batches])


@dataclass
class Crafting:
    """What crafting and scoring at one epsilon gave.

    Attributes:
        predictions: per target key, the class predicted for each image, batch by batch; see `CraftAndScore`.
        batch_size: images per batch.
        shown: the first few adversarial images.
        zero_gradients: of each image, whether its gradient was exactly zero at every step, batch by batch.
        queries: how many times each was shown to the surrogate, for attacks that only ask.
        smallest: the smallest norm found for each, for attacks that look for it.
        seconds: crafting and scoring time.
        made_with: versions, device and platform; see `environment`.
    """

    predictions: dict[str, list[NDArray[np.int64]]]
    batch_size: int
    shown: NDArray[np.float32] | None = None
    zero_gradients: list[NDArray[np.bool_]] = field(default_factory=list)
    queries: list[NDArray[np.int64]] = field(default_factory=list)
    smallest: list[NDArray[np.float32]] = field(default_factory=list)
    seconds: float = 0.0
    made_with: Environment = field(default_factory=dict)

    def note(self, crafted: Crafted) -> None:
        """Note what one batch says about the crafting itself."""
        self.zero_gradients.append(crafted.zero_gradient.cpu().numpy())
        if crafted.queries is not None:
            self.queries.append(crafted.queries.cpu().numpy())
        if crafted.smallest is not None:
            self.smallest.append(crafted.smallest.cpu().numpy())

    def facts(self, *, follows_gradients: bool) -> dict[str, Any]:
        """Return what the store keeps beside the outcomes; what has no meaning for an attack is left out."""
        facts: dict[str, Any] = {"seconds": round(self.seconds, 4), "batch_size": self.batch_size}
        if follows_gradients:
            facts["zero_gradient_share"] = float(np.concatenate(self.zero_gradients).mean())
        if self.queries:
            facts["queries"] = float(np.concatenate(self.queries).mean())
        if self.smallest:
            facts["median_norm"] = float(np.median(np.concatenate(self.smallest)))
        return facts


@dataclass(frozen=True)
class CraftingFailed:
    """What a crafting that failed gives: the cause, in a line."""

    cause: str


@dataclass(frozen=True)
class CraftAndScore:
    """Craft batch by batch, and let every wanted target score each batch at once, so that no images pile up.

    Only where they are to be saved, the images of the epsilons that are not in the file yet are gathered in memory.

    Attributes:
        job: what to craft and whom to score.
        dataset: what the data set is loaded by.
        fingerprint: its fingerprint.
        indices: positions of the N images in the test split; they key the random draws.
        seed: the sweep's seed.
        trained: the run's models.
        device: where to compute.
        batch_size: images per batch; None for what fits the surrogates, or the targets where there are none.
        show: whether to keep the first few images of every epsilon.
        precision: what the surrogates' layers compute in while images are crafted.
        file: where to save the images; None for nowhere.
    """

    job: CraftJob
    dataset: str
    fingerprint: str
    indices: Tensor
    seed: int
    trained: Checkpoints
    device: str
    batch_size: int | None
    show: bool
    precision: Precision = "float32"
    file: ImageFile | None = None

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"the crafting of {self.job.label}"

    @property
    def luggage(self) -> Luggage:
        """What it needs on another machine."""
        models = {job.key: job for _, targets in self.job.wanted for job in targets}
        models |= {job.key: job for job in self.job.surrogates.members}
        files = [] if self.file is None else [self.file.path]
        dataset = self.dataset, self.fingerprint
        return luggage_of(self.trained.run, dataset, models.values(), attacks=[self.job.attack], files=files)

    def at(self, run: Path) -> CraftAndScore:
        """Return the same job for another run folder."""
        file = self.file and replace(self.file, path=run / self.file.path.relative_to(self.trained.run))
        return replace(self, trained=replace(self.trained, run=run), file=file)

    def __call__(self, progress: Progress) -> dict[float, Crafting] | CraftingFailed:
        """Return, per epsilon, what the targets predicted; the images, if wanted, are in their file by then.

        Whatever the attack raises makes this crafting fail, and no other.

        Raises:
            PartlyDone: when the images cannot be saved; it holds what the targets predicted.

        """
        job, bar = self.job, progress.task(self.job.label, len(self.indices))
        dataset = load_unchanged(self.dataset, self.fingerprint)
        networks = self._networks(dataset)
        surrogates = [networks[member.key] for member in job.surrogates.members]
        made_with = environment(self.device, job.attack.library)
        refuse_another_environment(job.strict, self.device, self.label, job.attack.library)
        # All images of the sweep may be mixed in, so that nothing depends on the batch an image is crafted in.
        pool = Pool(
            dataset.test.images[self.indices].to(self.device), dataset.test.labels[self.indices].to(self.device)
        )
        size = self.batch_size or fitting_batch(surrogates or networks.values(), pool.images)
        results = {
            epsilon: Crafting({target.key: [] for target in targets}, size, made_with=made_with)
            for epsilon, targets in job.wanted
        }
        saved = set(results) if self.file is None else set(self.file.epsilons())
        unsaved: dict[float, list[Tensor]] = {epsilon: [] for epsilon in results if epsilon not in saved}
        try:
            for rows in torch.split(torch.arange(len(self.indices), device="cpu"), size):
                self._one_batch(surrogates, networks, pool, rows, results, unsaved)
                bar.advance(len(rows))
        except (Exception, SystemExit) as error:
            go_on()
            # A plugged-in component or another library may raise anything; the other results must not be lost to it.
            cause = str(error) if isinstance(error, (UsageError, WorkFailed)) else told(error)
            progress.line(f"failed: {job.label}: {cause}")
            return CraftingFailed(cause)
        if self.file is not None and unsaved:
            try:
                self.file.add({epsilon: torch.cat(parts) for epsilon, parts in unsaved.items()})
            except (UsageError, WorkFailed) as error:
                raise PartlyDone(str(error), results) from None
        return results

    def _networks(self, dataset: Dataset) -> dict[str, nn.Module]:
        jobs = {target.key: target for _, targets in self.job.wanted for target in targets}
        jobs |= {member.key: member for member in self.job.surrogates.members}
        return {key: self.trained.load(job, dataset, self.device) for key, job in jobs.items()}

    def _one_batch(
        self,
        surrogates: Sequence[nn.Module],
        networks: dict[str, nn.Module],
        pool: Pool,
        rows: Tensor,
        results: dict[float, Crafting],
        unsaved: dict[float, list[Tensor]],
    ) -> None:
        clock = time.perf_counter()
        images, labels, indices = pool.images[rows], pool.labels[rows], self.indices[rows].tolist()
        options: dict[str, Any] = {"seed": self.seed, "indices": indices, "pool": pool, "precision": self.precision}
        batches = craft(self.job.attack, surrogates, images, labels, list(results), **options)
        names = {target.key: target.label for _, targets in self.job.wanted for target in targets}
        for (epsilon, result), one in zip(results.items(), batches, strict=True):
            for key, predictions in result.predictions.items():
                predictions.append(predict(networks[key], one.images, names[key]))
            result.note(one)
            if self.show and result.shown is None:
                result.shown = one.images[:SHOWN_IMAGES].cpu().numpy()
            if epsilon in unsaved:
                unsaved[epsilon].append(one.images.cpu())
            clock, before = time.perf_counter(), clock
            result.seconds += clock - before
