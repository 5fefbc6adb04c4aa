"""The models of a run: one set of functions for models trained here and for ready ones, trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..cards import AnyModelCard, ModelCard, ReadyCard, read_kept
from ..data.dataset import Dataset
from ..errors import UsageError, located
from ..progress import Progress
from .checking import check_job
from .external import LoadingJob, check_ready, load_ready, take_over
from .job import TrainingJob
from .training import load_network, train

ModelJob = TrainingJob | LoadingJob


def model_job(dataset: Dataset, card: AnyModelCard, seed: int, held_out: float = 0.0, strict: str = "") -> ModelJob:
    """Return the job of training or loading one model on a data set; see `TrainingJob`.

    Raises:
        UsageError: for a ready model without that seed, or if training images are to be held out for a ready model.

    """
    if isinstance(card, ModelCard):
        return TrainingJob.on(dataset, card.on(dataset.name), seed, held_out, strict)
    assert isinstance(card, ReadyCard)
    if held_out:
        raise UsageError(f"{card.name}: nothing of it is trained here, so it cannot hold training images out")
    card.require(seed)
    return LoadingJob(card, dataset.name, dataset.fingerprint, seed, dataset.source)


def check_model(job: ModelJob, dataset: Dataset, run: Path, device: str = "cpu") -> None:
    """Raise UsageError for anything that would stop a training at its start, or make a ready model's results wrong."""
    if isinstance(job, TrainingJob):
        check_job(job, dataset, device)
    else:
        check_ready(job, dataset, run, device)


def kept_jobs(jobs: Iterable[ModelJob], keep_epochs: object) -> tuple[TrainingJob, ...]:
    """Return the models that trainings keep on their way.

    Args:
        jobs: what is trained; ready models keep nothing.
        keep_epochs: as `read_kept` takes it; None for nothing.

    Raises:
        UsageError: for anything else.

    """
    if keep_epochs is None:
        return ()
    with located("keep_epochs"):
        every = read_kept(keep_epochs)
    return tuple(kept for job in jobs if isinstance(job, TrainingJob) for kept in job.kept(every))


def by_training(jobs: Iterable[ModelJob]) -> list[tuple[ModelJob, tuple[TrainingJob, ...]]]:
    """Pair what is to be trained with the earlier epochs of the same training among the jobs, the later first."""
    groups: dict[str, list[ModelJob]] = {}
    for job in jobs:
        groups.setdefault(job.whole.key if isinstance(job, TrainingJob) else job.key, []).append(job)
    pairs = []
    for group in groups.values():
        epochs = sorted((job for job in group if isinstance(job, TrainingJob)), key=lambda job: -job.epochs)
        pairs.append((epochs[0] if epochs else group[0], tuple(epochs[1:])))
    return pairs


def make_model(
    job: ModelJob,
    dataset: Dataset,
    run: Path,
    kept: Sequence[TrainingJob] = (),
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Put a model's checkpoint into a run, or find it there, and return its facts; see `train` and `take_over`."""
    if isinstance(job, TrainingJob):
        return train(job, dataset, run, kept, device=device, progress=progress)
    return take_over(job, dataset, run, device=device)


def load_model(
    job: ModelJob, dataset: Dataset, run: Path, device: str = "cpu", *, digest: str | None = None
) -> nn.Module:
    """Return a model of a run in evaluation mode; see `load_network`."""
    load = load_network if isinstance(job, TrainingJob) else load_ready
    return load(job, dataset, run, device, digest=digest)  # type: ignore[arg-type]
