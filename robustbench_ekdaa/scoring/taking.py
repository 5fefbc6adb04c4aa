"""Models of a zoo, taken into a run in place of their training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data import Dataset
from ..errors import WorkFailed
from ..learning import ModelJob, TrainingJob
from ..learning.job import checkpoint_path
from ..progress import Progress
from ..storing.outcomes import ModelRecord
from ..storing.store import Store
from ..zoo import Zoo, ZooModel
from .jobs import record_of


def find_models(
    zoo: Zoo | None, jobs: Iterable[ModelJob], dataset: Dataset, run: Path, progress: Progress
) -> list[ZooModel]:
    """Fetch what a run lacks and a zoo holds, before anything is computed; a zoo that is not needed is not asked.

    Raises:
        UsageError: for what is wrong with the zoo.
        WorkFailed: where its server fails, or a file is not what its index says.
    """
    if zoo is None:
        return []
    wanted = {job.key: job for job in jobs if isinstance(job, TrainingJob)}
    missing = [job for job in wanted.values() if not checkpoint_path(run, job.key).exists()]
    found = []
    for job in missing:
        one = zoo.find(job, dataset)
        if one is None:
            progress.line(f"{zoo.lack(job)}; it is trained here")
        else:
            found.append(one)
    return found


def take_models(found: Sequence[ZooModel], store: Store, progress: Progress) -> None:
    """Copy models of a zoo into a run and record them, as if they had been trained here.

    Raises:
        WorkFailed: when the run folder cannot be written, or holds outcomes of another training of the same card.
    """
    known = store.models()
    for one in found:
        before = known.get(one.job.key)
        if before is not None and before.metrics.get("diverged"):
            continue  # trained here, it would diverge again
        record = record_of(one.job, one.facts)
        if before is not None:
            refuse_another_outcome(before, record, store)
        one.into(store.run)
        store.add_model(record)
        digest = record.metrics["digest"][:16]
        progress.line(f"{one.job.label}: taken from the zoo {one.facts['zoo']}, not trained (digest {digest})")


def refuse_another_outcome(before: ModelRecord, now: ModelRecord, store: Store) -> None:
    """Raise WorkFailed if a repeated training gave other weights: the stored outcomes belong to the first ones."""
    for fact in ("train_loss", "train_accuracy", "test_accuracy"):
        then, today = before.metrics.get(fact), now.metrics.get(fact)
        if before.status == now.status == "trained" and then != today and store.has_outcomes(now.key):
            raise WorkFailed(
                f"{now.name} (seed {now.seed}), whose checkpoint was gone, was trained again and is not what it was "
                f"({fact} {then}, now {today}; another version of PyTorch, or another device?). Its outcomes are of "
                f"the model before: put checkpoints/{now.key}.safetensors back from a copy, or choose another --run."
            )
