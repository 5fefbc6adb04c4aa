"""The driver of a sweep: plan, train, predict on clean images, craft and score, store; only what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..arguments import whole
from ..cards import RegisteredCard, SweepSpec, Workspace
from ..data import Dataset, shared_dataset
from ..errors import UsageError, shown
from ..learning import ModelJob, TrainingJob, by_training, check_model
from ..learning.checkpoint import load_checkpoint
from ..learning.job import checkpoint_path
from ..progress import Progress, Silent
from ..zoo import Zoo
from .executor import Executor, executor
from .images import image_files, tidy_run
from .jobs import SHOWN_IMAGES, Checkpoints, CraftAndScore, Crafting, PredictClean, TrainModel
from .outcomes import AttackRecord, CraftingKey, CraftingRecord, DataRecord, ImageRecord, ModelRecord, OutcomeKey
from .plan import CraftJob, ImageSet, SweepPlan, plan_sweep
from .ray_cluster import RayCluster
from .store import Store, writing
from .taking import find_models, refuse_another_outcome, take_models
from .worker import refuse_to_start_work

MOST_WORKERS = 1_000


def choose_device(device: str | torch.device, workers: int | RayCluster | None = 1) -> str:
    """Turn "auto" into "cuda" where there is one, else "cpu"; raises UsageError for a device that cannot be used.

    What a Ray cluster has need not be here: its jobs take "cpu", or "cuda" where they are given GPUs.
    """
    if isinstance(workers, RayCluster):
        if device == "auto":
            return "cuda" if workers.gpus_per_job else "cpu"
        if device not in ("cpu", "cuda"):
            raise UsageError(f"device {shown(device)}: jobs on a Ray cluster are on cpu or cuda; Ray says on which GPU")
        return str(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if not isinstance(device, (str, torch.device)):
            raise TypeError("its name must be a text")
        float(torch.ones(1, device=device).sum())  # torch knows devices that hold no numbers
    except Exception as error:  # torch says in many ways that a device is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"device {shown(device)} cannot be used here ({reason}). Use cpu or auto.") from None
    return str(device)


def check_models(
    jobs: Iterable[ModelJob], dataset: Dataset, run: Path, *, device: str, workers: int | RayCluster | None
) -> None:
    """Raise UsageError for whatever is wrong with a model, before anything is computed and the run folder is made."""
    here = "cpu" if isinstance(workers, RayCluster) else device
    for job in jobs:
        if isinstance(job.card, RegisteredCard) and workers != 1:
            raise UsageError(f"{job.card.name}: was registered in this process, and no other has it. Take workers=1.")
        check_model(job, dataset, run, here)


def check_workers(workers: int | RayCluster | None) -> int | RayCluster | None:
    """Return the number of workers, None for as many as fit; raises UsageError for what is no number of them."""
    refuse_to_start_work()
    if isinstance(workers, RayCluster):
        workers.check()
        return workers
    return None if workers is None else whole("workers", workers, least=1, most=MOST_WORKERS)


@dataclass
class WorkDone:
    """What a sweep did.

    Attributes:
        trained: models trained now.
        crafted: crafting jobs done now; of images from a file, the models that were asked about them.
        failed: models that could not be trained, now or before.
    """

    trained: int = 0
    crafted: int = 0
    failed: list[ModelRecord] = field(default_factory=list)

    def count(self, record: ModelRecord) -> None:
        """Count a model for which training was tried now."""
        self.trained += record.status == "trained" and not record.external


def train_models(
    jobs: Sequence[ModelJob],
    store: Store,
    *,
    device: str,
    runner: Executor,
    on_trained: Callable[[ModelRecord], None] = lambda record: None,
) -> list[ModelRecord]:
    """Train what the run does not hold yet; a model that fails is recorded and does not stop the others.

    Callers ask `check_models` before they open the store, so that a wrong request is not recorded.
    Training that diverged would diverge again, so it is not repeated; any other failure is tried anew.

    Returns:
        the records of all jobs, in order.
    """
    tidy_run(store.run)
    known = store.models()
    records = {
        job.key: _renamed(known[job.key], job, store)
        for job in jobs
        if job.key in known and _settled(job, known[job.key], store.run)
    }
    missing = [job for job in {job.key: job for job in jobs}.values() if job.key not in records]
    work = [TrainModel(job, store.run, device, kept) for job, kept in by_training(missing)]
    for record in (record for _, some in runner.run(work) for record in some):
        if record.key in known:
            refuse_another_outcome(known[record.key], record, store)
        store.add_model(record)
        records[record.key] = record
        on_trained(record)
    return [records[job.key] for job in jobs]


def _settled(job: ModelJob, record: ModelRecord, run: Path) -> bool:
    """Whether there is nothing to train: it is trained, or would diverge again."""
    if record.status == "failed":
        return bool(record.metrics.get("diverged"))
    path = checkpoint_path(run, record.key)
    if not path.exists():
        return False
    # A damaged checkpoint is found now, not after hours of other work.
    load_checkpoint(path, job, digest=record.metrics.get("digest"))
    return True


def _renamed(record: ModelRecord, job: ModelJob, store: Store) -> ModelRecord:
    """Call a model and its rule what its card calls them today: its key does not depend on these names."""
    named = replace(record, name=job.card.name, title=job.card.label, rule=job.card.rule_name)
    if named != record:
        store.add_model(named)
    return named


def run_sweep(
    spec: SweepSpec,
    run: Path | str,
    *,
    workspace: Workspace | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    progress: Progress | None = None,
    command: str | None = None,
    zoo: Zoo | None = None,
) -> WorkDone:
    """Do what is missing of a sweep and store it; doing it again when nothing is missing makes no model call.

    Args:
        spec: what to train, attack and score.
        run: the run folder.
        workspace: where the cards are (default: the current folder and the package's own).
        device: "auto", "cpu", "cuda", ...
        workers: jobs run side by side in so many processes, 1: in this one, None: one per core on a CPU; or the
            `RayCluster` that they run on.
        progress: gets lines and bars.
        command: the command that asked for it, kept for reports.
        zoo: where models that the run lacks are taken from; what it does not hold is trained.

    Raises:
        UsageError: before anything is computed, for whatever in the request is wrong.
        WorkFailed: when the run folder cannot be written; all that was stored stays.
    """
    workspace, progress, device = workspace or Workspace(), progress or Silent(), choose_device(device, workers)
    workers = check_workers(workers)
    plans = [plan_sweep(spec, workspace, shared_dataset(name)) for name in spec.datasets]
    for plan in plans:
        check_models(plan.models, plan.dataset, Path(run), device=device, workers=workers)
    found = [one for plan in plans for one in find_models(zoo, plan.to_train, plan.dataset, Path(run), progress)]
    done = WorkDone()
    with writing(run, progress) as store, executor(workers, progress, device) as runner:
        take_models(found, store, progress)
        for plan in plans:
            _Driver(plan, store, runner, device, progress, done).run(command)
    return done


@dataclass
class _Driver:
    """One data set's part of a sweep. It alone writes to the store."""

    plan: SweepPlan
    store: Store
    runner: Executor
    device: str
    progress: Progress
    done: WorkDone

    def run(self, command: str | None) -> None:
        """Train, predict, craft and score what is missing."""
        stored = self.store.stored(self.plan.images.key)
        announce(self.plan, self.store, stored, self.progress)
        self._record(command)
        self.store.keep_in_one_file()
        failed = self._train()
        self.store.keep_in_one_file()
        self._predict_clean(stored, failed)
        self.store.keep_in_one_file()
        self._craft(self.plan.craft_jobs(stored, failed, saved_images(self.plan, self.store)))

    def _record(self, command: str | None) -> None:
        name, before = self.plan.dataset.name, self.store.name_of(self.plan.dataset.fingerprint)
        if before not in (None, name):
            self.progress.line(
                f"{name} has the content of {before}, swept here before: its results are shown as {name}'s"
            )
        self.store.add_sweep(
            data_record(self.plan.dataset),
            image_record(self.plan.dataset, self.plan.images),
            [
                AttackRecord(key, card.name, card.label, card.norm, card.model_dump(mode="json"))
                for key, card in self.plan.attacks
            ],
            self.plan.spec.as_stored(),
            self.plan.roles(),
            command,
        )

    def _train(self) -> set[str]:
        """Train, and return the keys of the models that failed."""
        records = train_models(
            self.plan.to_train,
            self.store,
            device=self.device,
            runner=self.runner,
            on_trained=self.done.count,
        )
        failed = [record for record in records if record.status == "failed"]
        self.done.failed += failed
        return {record.key for record in failed}

    def _predict_clean(self, stored: set[OutcomeKey], failed: set[str]) -> None:
        plan = self.plan
        missing = [job for job in plan.models if OutcomeKey.clean(job.key) not in stored and job.key not in failed]
        size = plan.spec.batch_size
        predict_clean(missing, plan.images, self.store, self.runner, device=self.device, batch_size=size)

    def _craft(self, jobs: Sequence[CraftJob]) -> None:
        if not jobs:
            return
        plan, spec = self.plan, self.plan.spec
        bar = self.progress.task(f"attacks on {plan.dataset.name}", len(jobs))
        # One surrogate's pictures are enough to show an attack.
        pictured = {None, plan.surrogates[0].key, *(ensemble.key for ensemble in plan.ensembles[:1])}
        files = image_files(plan, self.store.run) if spec.save_images else {}
        trained = trained_models(self.store)
        work = [
            CraftAndScore(
                job,
                plan.dataset.loaded_by,
                plan.dataset.fingerprint,
                plan.images.indices,
                spec.seed,
                trained,
                self.device,
                spec.batch_size,
                show=job.surrogates.key in pictured,
                precision=spec.precision,
                file=files.get((job.surrogates.key, job.attack_key)),
            )
            for job in jobs
        ]
        for position, crafted in self.runner.run(work):
            self._store(jobs[position], crafted)
            self.done.crafted += 1
            bar.advance()

    def _store(self, job: CraftJob, crafted: dict[float, Crafting]) -> None:
        """Store one crafting job's outcomes, all or nothing."""
        outcomes: dict[OutcomeKey, NDArray[np.int64]] = {}
        craftings = []
        follows_gradients = job.attack.uses_surrogate and job.attack.adapter is None
        for epsilon, result in crafted.items():
            key = CraftingKey(job.surrogates.key, job.attack_key, epsilon)
            craftings.append(CraftingRecord(key, result.facts(follows_gradients=follows_gradients), result.shown))
            outcomes |= {key.of(target): np.concatenate(parts) for target, parts in result.predictions.items()}
        self.store.add_outcomes(self.plan.images.key, outcomes, craftings)


def predict_clean(
    jobs: Sequence[ModelJob], images: ImageSet, store: Store, runner: Executor, *, device: str, batch_size: int
) -> None:
    """Pass the clean images through models once; also through surrogates, as the transfer rate needs it."""
    trained = trained_models(store)
    work = [PredictClean(job, images.indices, trained, device, batch_size) for job in jobs]
    for position, predictions in runner.run(work):
        store.add_outcomes(images.key, {OutcomeKey.clean(jobs[position].key): predictions})


def data_record(dataset: Dataset) -> DataRecord:
    """Return what is stored of a data set."""
    return DataRecord(dataset.fingerprint, dataset.name, dataset.title, dataset.classes)


def image_record(dataset: Dataset, images: ImageSet) -> ImageRecord:
    """Return what is stored of a data set's test images."""
    labels, first = dataset.test.labels[images.indices], dataset.test.images[images.indices[:SHOWN_IMAGES]]
    return ImageRecord(images.key, dataset.fingerprint, images.indices.numpy(), labels.numpy(), first.numpy())


def trained_models(store: Store) -> Checkpoints:
    """Return a run's trained models, as the store knows them."""
    noted = {key: record.metrics.get("digest") for key, record in store.models().items()}
    return Checkpoints(store.run, {key: digest for key, digest in noted.items() if digest})


def saved_images(plan: SweepPlan, store: Store) -> dict[tuple[str | None, str], tuple[float, ...]] | None:
    """Return which epsilons' images are saved, by (surrogate, attack); None if the sweep is not to save any."""
    if not plan.spec.save_images:
        return None
    return {place: file.epsilons() for place, file in image_files(plan, store.run).items()}


def announce(plan: SweepPlan, store: Store, stored: set[OutcomeKey], progress: Progress) -> None:
    """Say what is stored already and what is to be done."""
    # Others were trained elsewhere.
    trainings = [job for job in plan.to_train if isinstance(job, TrainingJob)]
    missing = [job for job in trainings if not checkpoint_path(store.run, job.key).exists()]
    untrained = sum(job in plan.models for job in missing)
    failed = {key for key, record in store.models().items() if record.metrics.get("diverged")}
    jobs = plan.craft_jobs(stored, failed, saved_images(plan, store))
    everything = plan.craft_jobs(set(), failed)
    cells = sum(len(targets) for job in jobs for _, targets in job.wanted)
    total = sum(len(targets) for job in everything for _, targets in job.wanted)
    progress.line(
        f"{plan.dataset.title}: {len(plan.images.indices)} test images, {len(plan.models)} models "
        f"({len(plan.models) - untrained} trained already), {total} cells ({total - cells} stored already); "
        f"to do: {len(by_training(missing))} trainings, {len(jobs)} craftings, {cells} cells"
    )
    for doubt in plan.doubts():
        progress.line(f"warning: {doubt}")
