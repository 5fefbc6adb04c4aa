"""One data set's part of a sweep: its tasks, and what is stored of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..crafting.passes import passes
from ..data import Dataset
from ..executing.order import Pending
from ..learning import ModelJob, TrainingJob, by_training
from ..learning.job import checkpoint_path
from ..progress import Bar, Progress
from ..storing.keys import CraftingKey, ExistingOutcomes, OutcomeKey
from ..storing.outcomes import AttackRecord, CraftingRecord, DataRecord, ImageRecord, ModelRecord
from ..storing.store import Store
from .images import ImageFile, image_files, tidy_run
from .jobs import SHOWN_IMAGES, Checkpoints, CraftAndScore, Crafting, CraftingFailed, PredictClean, TrainModel
from .plan import CraftJob, ImageSet, SweepPlan
from .trainings import Keeping, checkpoints_of, settled_models, trainings

NO_TIME = 0.1  # passes of crafting, as a share of those of scoring, that may be made twice for early results
CLEAN, CRAFT, TRAIN = range(3)  # of what can begin within a seed, results come before further models


@dataclass
class WorkDone:
    """What a sweep did.

    Attributes:
        trained: models trained now.
        crafted: crafting jobs done now; of images from a file, the models that were asked about them.
        failed: models that could not be trained, now or before.
        failed_craftings: by data set and crafting, why those that failed now did.
    """

    trained: int = 0
    crafted: int = 0
    failed: list[ModelRecord] = field(default_factory=list)
    failed_craftings: dict[tuple[str, str], str] = field(default_factory=dict)

    def count(self, record: ModelRecord) -> None:
        """Count a model for which training was tried now."""
        self.trained += record.status == "trained" and not record.external


@dataclass(frozen=True)
class _Part:
    """A crafting job, or the part of it that does not wait for, or has waited for, the targets that stand apart."""

    job: CraftJob
    apart: frozenset[str] = frozenset()
    last: bool = True


def _seed(job: CraftJob) -> int:
    """Return the training seed that a crafting belongs to."""
    return max((one.seed for one in job.surrogates.members), default=0)


def _crafts_in_no_time(job: CraftJob) -> bool:
    """Whether crafting takes next to nothing beside scoring, as FGSM's one gradient for all epsilons does."""
    made = passes(job.attack, len(job.wanted), max(len(job.surrogates.members), 1))
    scored = sum(len(targets) for _, targets in job.wanted)
    return made is not None and made.forward + made.backward <= NO_TIME * scored


@dataclass
class Sweeping:
    """One data set's part of a sweep. It alone writes to the store.

    Attributes:
        place: of the data set, among those of the sweep.
        records: all models that are trained or failed by now.

    """

    plan: SweepPlan
    place: int
    store: Store
    device: str
    progress: Progress
    done: WorkDone
    retry_failed: bool = False
    records: dict[str, ModelRecord] = field(default_factory=dict)

    def begin(self, command: str | None) -> None:
        """Say what is to be done, and record what was asked for."""
        self.stored = self.store.stored(self.plan.images.key)
        self.bar: Bar | None = None
        announce(self.plan, self.store, self.stored, self.progress, retry_failed=self.retry_failed)
        self._record(command)
        self.store.keep_in_one_file()

    def tasks(self) -> Iterator[Pending]:
        """Yield what is missing: trainings, clean passes, craftings; one seed of all before the next of any.

        A crafting scores all its targets at once, and so begins when its surrogates and its targets are trained. One
        that costs next to nothing is done twice: for the targets of its own seed at once, and for later ones in time.
        """
        tidy_run(self.store.run)
        self.saved = saved_images(self.plan, self.store.run)
        self.records = settled_models(self.plan.to_train, self.store, retry_failed=self.retry_failed)
        yield from self._trainings()
        yield from self._clean_passes()
        yield from self._craftings()

    def failures(self) -> list[ModelRecord]:
        """Return the models that failed, now or before."""
        return [self.records[job.key] for job in self.plan.to_train if self.records[job.key].status == "failed"]

    @property
    def _failed(self) -> set[str]:
        return {key for key, record in self.records.items() if record.status == "failed"}

    def _trainings(self) -> Iterator[Pending]:
        keep = Keeping(self.store, self.done.count)

        def take(records: list[ModelRecord]) -> None:
            keep(records)
            self.records |= {record.key: record for record in records}
            self.store.keep_in_one_file()

        for number, work in enumerate(trainings(self.plan.to_train, self.records, self.store.run, self.device)):
            gives = [job.key for job in (work.job, *work.kept)]
            rank = (work.job.seed, self.place, TRAIN, number)
            yield Pending(rank, make=partial(_as_planned, work), take=take, gives=gives, long=True)

    def _clean_passes(self) -> Iterator[Pending]:
        plan = self.plan
        for number, job in enumerate(plan.models):
            key = OutcomeKey.clean(job.key)
            if key not in self.stored:
                yield Pending(
                    (job.seed, self.place, CLEAN, number),
                    make=partial(self._clean_pass, job),
                    take=partial(self._store_clean, key),
                    needs=[job.key],
                    gives=[key],
                )

    def _store_clean(self, key: OutcomeKey, classes: NDArray[np.int64]) -> None:
        self.store.add_outcomes(self.plan.images.key, {key: classes})

    def _clean_pass(self, job: ModelJob) -> PredictClean | None:
        if job.key in self._failed:
            return None
        return PredictClean(
            job, self.plan.images.indices, self._checkpoints([job]), self.device, self.plan.spec.batch_size
        )

    def _craftings(self) -> Iterator[Pending]:
        plan = self.plan
        parts = [part for job in plan.craft_jobs(self.stored, self._failed, self.saved) for part in self._parts(job)]
        files = image_files(plan, self.store.run) if plan.spec.save_images else {}
        for number, part in enumerate(parts):
            job = part.job
            targets = {one.key for _, some in job.wanted for one in some} - part.apart
            models = {*targets, *(one.key for one in job.surrogates.members)}
            yield Pending(
                (_seed(job), self.place, CRAFT, number),
                make=partial(self._crafting, part, len(parts), files.get((job.surrogates.key, job.attack_key))),
                take=partial(self._store, part),
                needs=[*models, *map(OutcomeKey.clean, models)],
            )

    def _parts(self, job: CraftJob) -> list[_Part]:
        """Split what costs little to craft twice: targets of its own seed are scored before later ones are trained."""
        wanted = {one.key: one.seed for _, some in job.wanted for one in some}
        later = frozenset(key for key, seed in wanted.items() if seed > _seed(job) and key not in self.records)
        if not later or len(later) == len(wanted) or not _crafts_in_no_time(job):
            return [_Part(job)]
        return [_Part(job, later, last=False), _Part(job, frozenset(wanted) - later)]

    def _crafting(self, part: _Part, total: int, file: ImageFile | None) -> CraftAndScore | None:
        """Return the job as far as no model that it needs has failed."""
        plan, spec, planned = self.plan, self.plan.spec, part.job
        if self.bar is None:
            self.store.keep_in_one_file()
            self.bar = self.progress.task(f"attacks on {plan.dataset.name}", total)
        facts = (planned.attack_key, planned.attack, planned.surrogates, self.stored, self._failed, self.saved)
        job = plan.craft_job(*facts, apart=part.apart)
        if job is None:
            self.bar.advance()
            return None
        # One surrogate's pictures are enough to show an attack.
        pictured = {None, plan.surrogates[0].key, *(ensemble.key for ensemble in plan.ensembles[:1])}
        needed = (*job.surrogates.members, *(one for _, some in job.wanted for one in some))
        return CraftAndScore(
            job,
            plan.dataset.loaded_by,
            plan.dataset.fingerprint,
            plan.images.indices,
            spec.seed,
            self._checkpoints(needed),
            self.device,
            spec.batch_size,
            show=job.surrogates.key in pictured,
            precision=spec.precision,
            file=file,
        )

    def _checkpoints(self, jobs: Iterable[ModelJob]) -> Checkpoints:
        return checkpoints_of(self.store.run, {job.key: self.records[job.key] for job in jobs})

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

    def _store(self, part: _Part, crafted: dict[float, Crafting] | CraftingFailed) -> None:
        """Store one crafting job's outcomes, all or nothing, or why there are none."""
        job = part.job
        if isinstance(crafted, CraftingFailed):
            keys = [CraftingKey(job.surrogates.key, job.attack_key, epsilon) for epsilon, _ in job.wanted]
            self.store.add_failure(self.plan.images.key, keys, crafted.cause)
            self.done.failed_craftings[self.plan.dataset.name, job.label] = crafted.cause
        else:
            self._store_outcomes(job, crafted)
            self.done.crafted += part.last
        if self.bar is not None:
            self.bar.advance()

    def _store_outcomes(self, job: CraftJob, crafted: dict[float, Crafting]) -> None:
        outcomes: dict[OutcomeKey, NDArray[np.int64]] = {}
        craftings = []
        follows_gradients = job.attack.uses_surrogate and job.attack.adapter is None
        for epsilon, result in crafted.items():
            key = CraftingKey(job.surrogates.key, job.attack_key, epsilon)
            facts = result.facts(follows_gradients=follows_gradients)
            craftings.append(CraftingRecord(key, facts, result.shown, result.made_with))
            outcomes |= {key.of(target): np.concatenate(parts) for target, parts in result.predictions.items()}
        self.store.add_outcomes(self.plan.images.key, outcomes, craftings)


def apart(drivers: Sequence[Sweeping]) -> list[list[Sweeping]]:
    """Put those that can work at the same time together: data of one content, under two names, are one."""
    rounds: list[list[Sweeping]] = []
    for driver in drivers:
        fingerprint = driver.plan.dataset.fingerprint
        fits = (some for some in rounds if fingerprint not in {one.plan.dataset.fingerprint for one in some})
        some = next(fits, None)
        if some is None:
            rounds.append([driver])
        else:
            some.append(driver)
    return rounds


def data_record(dataset: Dataset) -> DataRecord:
    """Return what is stored of a data set."""
    return DataRecord(dataset.fingerprint, dataset.name, dataset.title, dataset.classes)


def image_record(dataset: Dataset, images: ImageSet) -> ImageRecord:
    """Return what is stored of a data set's test images."""
    labels, first = dataset.test.labels[images.indices], dataset.test.images[images.indices[:SHOWN_IMAGES]]
    return ImageRecord(images.key, dataset.fingerprint, images.indices.numpy(), labels.numpy(), first.numpy())


def _as_planned(work: TrainModel) -> TrainModel:
    return work


def saved_images(plan: SweepPlan, run: Path) -> dict[tuple[str | None, str], tuple[float, ...]] | None:
    """Return which epsilons' images are saved, by (surrogate, attack); None if the sweep is not to save any."""
    if not plan.spec.save_images:
        return None
    return {place: file.epsilons() for place, file in image_files(plan, run).items()}


def announce(
    plan: SweepPlan, store: Store, stored: ExistingOutcomes, progress: Progress, *, retry_failed: bool = False
) -> None:
    """Say what is stored already and what is to be done."""
    # Others were trained elsewhere.
    trainable = [job for job in plan.to_train if isinstance(job, TrainingJob)]
    failed = set() if retry_failed else {key for key, one in store.models().items() if one.status == "failed"}
    lacking = [job for job in trainable if not checkpoint_path(store.run, job.key).exists()]
    missing = [job for job in lacking if job.key not in failed]
    untrained = sum(job in plan.models for job in lacking)
    jobs = plan.craft_jobs(stored, failed, saved_images(plan, store.run))
    everything = plan.craft_jobs(ExistingOutcomes(), failed)
    cells = sum(len(targets) for job in jobs for _, targets in job.wanted)
    total = sum(len(targets) for job in everything for _, targets in job.wanted)
    progress.line(
        f"{plan.dataset.title}: {len(plan.images.indices)} test images, {len(plan.models)} models "
        f"({len(plan.models) - untrained} trained already), {total} cells ({total - cells} stored already); "
        f"to do: {len(by_training(missing))} trainings, {len(jobs)} craftings, {cells} cells"
    )
    for doubt in plan.doubts():
        progress.line(f"warning: {doubt}")
