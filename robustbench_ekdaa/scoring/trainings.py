"""What is trained in a run: what is there already, what is still to do, and what becomes of its results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..executing.executor import Executor
from ..learning import ModelJob, by_training
from ..learning.checkpoint import load_checkpoint
from ..learning.job import checkpoint_path
from ..storing.outcomes import ModelRecord
from ..storing.store import Store
from .images import tidy_run
from .jobs import Checkpoints, TrainModel
from .taking import refuse_another_outcome


def train_models(
    jobs: Sequence[ModelJob],
    store: Store,
    *,
    device: str,
    runner: Executor,
    on_trained: Callable[[ModelRecord], None] = lambda record: None,
    retry_failed: bool = False,
) -> list[ModelRecord]:
    """Train what the run does not hold yet; a model that fails is recorded and does not stop the others.

    Callers ask `check_models` before they open the store, so that a wrong request is not recorded.

    Args:
        jobs: the models.
        store: the run's store.
        device: where to compute.
        runner: what runs the trainings.
        on_trained: is told of every model for which training was tried now.
        retry_failed: whether to train anew what failed before; its record stays until there is another.

    Returns:
        the records of all jobs, in order.

    """
    tidy_run(store.run)
    records = settled_models(jobs, store, retry_failed=retry_failed)
    keep = Keeping(store, on_trained)
    for _, some in runner.run(trainings(jobs, records, store.run, device)):
        keep(some)
        records |= {record.key: record for record in some}
    return [records[job.key] for job in jobs]


def settled_models(jobs: Iterable[ModelJob], store: Store, *, retry_failed: bool = False) -> dict[str, ModelRecord]:
    """Return the records of the models for which there is nothing to train: they are trained, or failed before."""
    known = store.models()
    return {
        job.key: _renamed(known[job.key], job, store)
        for job in jobs
        if job.key in known and _settled(job, known[job.key], store.run, retry_failed=retry_failed)
    }


def trainings(jobs: Iterable[ModelJob], settled: Collection[str], run: Path, device: str) -> list[TrainModel]:
    """Return the trainings of what is not settled, each model once."""
    missing = [job for job in {job.key: job for job in jobs}.values() if job.key not in settled]
    return [TrainModel(job, run, device, kept) for job, kept in by_training(missing)]


class Keeping:
    """Stores the records of trainings as they come."""

    def __init__(self, store: Store, on_trained: Callable[[ModelRecord], None]) -> None:
        self.store, self.on_trained, self.known = store, on_trained, store.models()

    def __call__(self, records: Iterable[ModelRecord]) -> None:
        """Store some."""
        for record in records:
            if record.key in self.known:
                refuse_another_outcome(self.known[record.key], record, self.store)
            self.store.add_model(record)
            self.on_trained(record)


def _settled(job: ModelJob, record: ModelRecord, run: Path, *, retry_failed: bool) -> bool:
    if record.status == "failed":
        return not retry_failed
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


def trained_models(store: Store) -> Checkpoints:
    """Return a run's trained models, as the store knows them."""
    return checkpoints_of(store.run, store.models())


def checkpoints_of(run: Path, records: Mapping[str, ModelRecord]) -> Checkpoints:
    """Return models of a run, as their records know them."""
    noted = {key: record.metrics.get("digest") for key, record in records.items()}
    return Checkpoints(run, {key: digest for key, digest in noted.items() if digest})
