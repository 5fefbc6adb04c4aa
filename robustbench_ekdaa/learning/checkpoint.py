"""Checkpoints: a model's tensors and the facts of its training, known on every load to be what was saved for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..cards import content_hash
from ..errors import UsageError
from ..files import clear_errors, read_tensors, shown_path, tidy, write_tensors

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from .models import ModelJob


class EarlyFacts(BaseModel):
    """What checkpoints of early releases say, which have no digest.

    A file without one must say exactly this: otherwise a single damaged byte could turn a new checkpoint into an early
    one.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    rule: str
    dataset: str
    dataset_title: str | None = None
    seed: int
    identity: dict[str, Any]
    epochs: int
    train_loss: float
    train_accuracy: float
    held_out_accuracy: float | None
    test_accuracy: float | None
    parameters: int
    seconds: float
    exemptions: dict[str, str] = {}
    layers: dict[str, dict[str, float | None]]


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> dict[str, Any]:
    """Write a checkpoint, whole or not at all, and return its facts with the file's "digest".

    The file also says under "key" what its name is, so that a file in the place of another is noticed.

    Raises:
        WorkFailed: when the disk is full or cannot be written.

    """
    with clear_errors(path):
        return {**facts, "digest": write_tensors(path, tensors, {**facts, "key": path.stem})}


def whose(job: ModelJob, dataset: Dataset) -> dict[str, Any]:
    """Return the facts that say which model a checkpoint is of."""
    return {
        "model": job.card.name,
        "rule": job.card.rule_name,
        "dataset": job.dataset,
        "dataset_title": dataset.title,
        "seed": job.seed,
        "identity": job.identity,
    }


def load_checkpoint(
    path: Path, job: ModelJob, *, digest: str | None = None, advice: str = "Remove it and run again."
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint, and make sure that it is whole, of this job, and the one that the store speaks of.

    Args:
        path: the file, see `checkpoint_path`.
        job: what was trained.
        digest: what the store has noted as its digest; None if it has noted none.
        advice: what a message says is to be done.

    Returns:
        the tensors and the facts.

    Raises:
        UsageError: naming the file, for one that is missing, damaged, of another model or of another tool.

    """
    where = shown_path(path)
    if not path.exists():
        raise UsageError(f"{where}: there is no such file. Train {job.label} first, or run its sweep again.")
    found = read_tensors(path, advice)
    facts = found.facts
    if facts is None:
        raise UsageError(f"{where}: not a checkpoint of this tool. {advice}")
    if not (facts.pop("key", "") == path.stem if "digest" in facts else _is_of(_early(facts, where, advice), job)):
        raise UsageError(f"{where}: is not the checkpoint of {job.label}. {advice}")
    if digest is not None and facts.get("digest") != digest:
        raise UsageError(f"{where}: is not the checkpoint that results.sqlite speaks of. {advice}")
    return found.tensors, facts


def _early(facts: dict[str, Any], where: str, advice: str) -> EarlyFacts:
    try:
        return EarlyFacts.model_validate(facts)
    except (ValidationError, RecursionError):
        raise UsageError(f"{where}: is damaged (it has no digest). {advice}") from None


def _is_of(facts: EarlyFacts, job: ModelJob) -> bool:
    """Whether early facts speak of a job; the data set's fingerprint is not among them."""
    return content_hash([facts.seed, facts.identity]) == content_hash([job.seed, job.identity])


def tidy_checkpoints(run: Path) -> None:
    """Remove what killed trainings left in a run folder; what living ones hold stays."""
    tidy(run / "checkpoints", r"\.[0-9a-f]{16}(\.partial)?\.safetensors\.\d+\.tmp|\.tmp[A-Za-z0-9]{6}")
    tidy(run / "logs", r"[0-9a-f]{16}\.tmp")
    for partial in (run / "checkpoints").glob("*.partial.safetensors"):
        if partial.with_name(partial.name.replace(".partial.", ".")).exists():
            partial.unlink(missing_ok=True)


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with ``prefix.`` before their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix.``, without it."""
    return {
        name.removeprefix(prefix + "."): tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")
    }
