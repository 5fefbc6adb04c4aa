"""Taking a trained model from a zoo into a run, in place of its training."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..cards import content_hash
from ..computing import ordinary_torch
from ..data.dataset import Dataset
from ..errors import UsageError, WorkFailed
from ..files import clear_errors, read_tensors, whole_file
from ..learning import TrainingJob
from ..learning.checkpoint import under_prefix
from ..learning.job import checkpoint_path, log_path
from ..learning.training import make_network
from ..registry import explain
from ..remote import Location, fetched
from ..remote.reading import sha256_of
from .index import Digest, Entry, Figures, Index, StoredFile, Told, read_index

PARTS = ("network.", "rule.")  # what the names of a checkpoint's tensors begin with


class ZooFacts(BaseModel):
    """What the checkpoint of a zoo says of its training, besides `Figures`; more than this is not taken over."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    model: Told
    rule: Told
    dataset: Told
    dataset_title: Told = ""
    seed: int
    identity: dict[str, Any]
    exemptions: dict[Told, Told] = {}
    log_digest: Digest | None = None
    made_with: dict[Told, Told] = {}
    digest: Digest


@dataclass(frozen=True)
class ZooModel:
    """A model of a zoo, fetched and checked.

    Attributes:
        job: what it is in place of.
        entry: what the index says of it.
        weights: its checkpoint, on this machine.
        log: its training's log; None if the zoo does not have it.
        facts: of its training, as a training would return them, and under "zoo" where it comes from.
    """

    job: TrainingJob
    entry: Entry
    weights: Path
    log: Path | None
    facts: dict[str, Any]

    def into(self, run: Path) -> None:
        """Copy it into a run folder; raises WorkFailed when that cannot be written, or the copy is not the same."""
        if self.log is not None and self.entry.log is not None:
            _copy(self.log, log_path(run, self.job.key), self.entry.log)
        _copy(self.weights, checkpoint_path(run, self.job.key), self.entry.weights)


class Zoo:
    """A zoo to take models from; its index is read when a model is first looked for.

    Methods raise UsageError for what is wrong with the zoo, naming it, and WorkFailed where a server fails, or a file
    is not what the index says.
    """

    def __init__(self, place: Location) -> None:
        if place.path is None and ("?" in place.url or "#" in place.url):
            raise UsageError("zoo: must be the URL of a folder, without ? and #")
        self.place = place

    @cached_property
    def index(self) -> Index:
        """What it holds."""
        return read_index(self.place)

    def find(self, job: TrainingJob, dataset: Dataset) -> ZooModel | None:
        """Fetch a model, and make sure that it is whole, of this job, and a network that answers; None if not there."""
        entry = self.index.models.get(job.key)
        if entry is None:
            return None
        where = f"the index of {self.place}"
        path, digest = self.place / entry.weights.path, entry.weights.sha256
        weights = fetched(path, digest, size=entry.weights.size, says=where)
        log = None
        if entry.log is not None:
            place = self.place / entry.log.path
            log = fetched(place, entry.log.sha256, size=entry.log.size, says=where)
        facts = _checked(weights, path, job, dataset, entry)
        return ZooModel(job, entry, weights, log, {**facts, "zoo": str(self.place)})

    def lack(self, job: TrainingJob) -> str:
        """Say that it does not hold a model, and what it holds in its place."""
        wanted = (job.card.name, job.dataset, job.seed)
        alike = [entry for entry in self.index.models.values() if (entry.name, entry.dataset, entry.seed) == wanted]
        reason = "not there"
        if alike:
            same_data = any(entry.fingerprint == job.fingerprint for entry in alike)
            other = "card or another release" if same_data else "version of the data"
            reason = f"what it has by that name is of another {other}"
        return f"{job.label}: not in the zoo {self.place} ({reason})"


def _checked(weights: Path, place: Location, job: TrainingJob, dataset: Dataset, entry: Entry) -> dict[str, Any]:
    """Return a checkpoint's facts; raises UsageError, naming its place, for one that a run must not take over."""
    tensors, found = _read(weights, place)
    try:
        facts = ZooFacts.model_validate(found)
        figures = Figures.model_validate({name: found.get(name) for name in Figures.model_fields})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        named = ".".join(map(str, problem["loc"][:2]))
        raise UsageError(f"{place}: its facts are not those of a training: {named}: {explain(problem)}") from None
    if (facts.digest, found.get("key")) != (entry.digest, job.key):
        raise UsageError(f"{place}: is not the checkpoint that the zoo's index speaks of")
    if content_hash([facts.seed, facts.identity]) != content_hash([job.seed, job.identity]):
        raise UsageError(f"{place}: is not a checkpoint of {job.label}")
    if facts.log_digest is not None and entry.log is not None and facts.log_digest != entry.log.sha256:
        raise UsageError(f"{place}: the log that the zoo's index names is not that of its training")
    _check_tensors(tensors, place, job, dataset)
    return {**facts.model_dump(exclude_none=True), **figures.model_dump()}


def _read(weights: Path, place: Location) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        found = read_tensors(weights, "")
    except UsageError as error:
        raise UsageError(f"{place}: cannot be used ({error})") from None
    if found.facts is None:
        raise UsageError(f"{place}: is not a checkpoint of this tool")
    return found.tensors, found.facts


@ordinary_torch(gradients=True)
def _check_tensors(tensors: dict[str, Tensor], place: Location, job: TrainingJob, dataset: Dataset) -> None:
    for name, tensor in tensors.items():
        if not name.startswith(PARTS):
            raise UsageError(f"{place}: holds {name}, which is no part of a trained model")
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{place}: {name} has values that are NaN or infinite")
    network = make_network(job, dataset)
    own, given = network.state_dict(), under_prefix("network", tensors)
    alike = own.keys() == given.keys() and all(
        (own[name].shape, own[name].dtype) == (given[name].shape, given[name].dtype) for name in own
    )
    if not alike:
        raise UsageError(f"{place}: does not fit the network of {job.label}")


def _copy(source: Path, target: Path, file: StoredFile) -> None:
    with clear_errors(target), whole_file(target) as draft:
        shutil.copyfile(source, draft)
        if sha256_of(draft) != file.sha256:
            raise WorkFailed(f"{source}: changed while it was copied. Run the same command again.")
