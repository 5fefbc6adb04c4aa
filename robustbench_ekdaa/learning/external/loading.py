"""How a ready model gets into a run: it is checked, copied to a checkpoint, and loaded from there when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...arguments import whole
from ...cards import ExternalCard, ReadyCard, RegisteredCard, content_hash
from ...computing import ordinary_torch
from ...data.dataset import Dataset
from ...errors import UsageError, WorkFailed, told
from ...files import shown_path, storable
from ..checkpoint import load_checkpoint, save_checkpoint, under_prefix, whose, with_prefix
from ..job import checkpoint_path
from ..training import measured_accuracy
from .checks import check_module
from .identity import state_digest
from .source import fill, identity, make_module, network_identity, read_weights

# Part of every ready model's key: raise it when a change here would give other logits from the same files.
LOADING_VERSION = 1
LOOKED_AT = 16  # number of images that a module is checked with


@dataclass(frozen=True)
class LoadingJob:
    """One model that was trained elsewhere: the counterpart of a `TrainingJob`.

    Attributes:
        card: the model card.
        dataset: the data set's name.
        fingerprint: the data set's fingerprint.
        seed: which of the card's models.
        source: the name or path by which the data set is loaded, if that is not its name; not part of the key.

    """

    card: ReadyCard
    dataset: str
    fingerprint: str
    seed: int
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed))

    @property
    def loaded_by(self) -> str:
        """The name or path by which any process can load the data set."""
        return self.source or self.dataset

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the model's outputs, as it was when this property was first read."""
        return identity(self.card, self.seed)

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the model's outputs, and of the data; the checkpoint's name."""
        facts = {"version": LOADING_VERSION, "model": self.identity, "data": self.fingerprint, "seed": self.seed}
        return content_hash({"loaded": facts})

    @cached_property
    def network(self) -> str:
        """Hash of the network without what it learned."""
        return content_hash({"loaded": network_identity(self.card, self.seed)})

    @property
    def label(self) -> str:
        """Its name in progress bars."""
        return f"{self.card.name} on {self.dataset}, seed {self.seed}"


@ordinary_torch(gradients=True)
def check_ready(job: LoadingJob, dataset: Dataset, run: Path, device: str) -> None:
    """Raise UsageError, naming card and check, for a model whose results could not be trusted.

    A model that is in the run already is not checked again.
    """
    if checkpoint_path(run, job.key).exists():
        return
    module = _ready_module(job, dataset)
    where = job.card.at("external") if isinstance(job.card, ExternalCard) else job.card.name
    try:
        storable(module.state_dict())
    except Exception as error:
        raise UsageError(f"{where}: its state cannot be saved ({told(error)})") from error
    images = dataset.test.images[:LOOKED_AT].to(device)
    check_module(module.to(device).eval(), images, len(dataset.classes), f"{where}: seed {job.seed}")


def _ready_module(job: LoadingJob, dataset: Dataset) -> nn.Module:
    card, channels = job.card, dataset.image_shape[0]
    if isinstance(card, RegisteredCard):
        return make_module(card, job.seed)
    assert isinstance(card, ExternalCard)
    preprocess = card.external.preprocess
    if preprocess is not None and len(preprocess.mean) not in (1, channels):
        raise UsageError(
            f"{card.at('external.preprocess')}: has {len(preprocess.mean)} channels, but {job.dataset} has {channels}"
        )
    return make_module(card, job.seed, read_weights(card, job.seed))


@ordinary_torch(gradients=True)
def take_over(job: LoadingJob, dataset: Dataset, run: Path, *, device: str = "cpu") -> dict[str, Any]:
    """Copy a model into a run as a checkpoint, or find it there, and return the checkpoint's facts.

    Facts about its training are None, as they are unknown here.

    Raises:
        UsageError: when it cannot be loaded, or its checkpoint is damaged.
        WorkFailed: when the run folder cannot be written, or the model changed since the job was made.

    """
    path = checkpoint_path(run, job.key)
    if path.exists():
        return load_checkpoint(path, job)[1]
    module = _ready_module(job, dataset)
    if identity(job.card, job.seed) != job.identity:
        raise WorkFailed(f"{job.card.name} (seed {job.seed}) changed while it was loaded. Run the same command again.")
    tensors = with_prefix("network", module.state_dict())
    module = module.to(device).eval()
    facts = {
        **whose(job, dataset),
        "external": True,
        "epochs": None,
        "train_loss": None,
        "train_accuracy": None,
        "held_out_accuracy": None,
        "test_accuracy": measured_accuracy(module, dataset.test, torch.device(device)),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
    return save_checkpoint(path, tensors, facts)


@ordinary_torch(gradients=True)
def load_ready(
    job: LoadingJob, dataset: Dataset, run: Path, device: str = "cpu", *, digest: str | None = None
) -> nn.Module:
    """Return a model of a run in evaluation mode; see `load_network`."""
    path = checkpoint_path(run, job.key)
    tensors, _ = load_checkpoint(path, job, digest=digest)
    module = make_module(job.card, job.seed)
    fill(module, under_prefix("network", tensors), shown_path(path))
    # Code, plain attributes and buffers that are not saved are in no checkpoint, and may have changed since then.
    code_changed = network_identity(job.card, job.seed) != job.identity["network"]
    if code_changed or state_digest(module) != job.identity.get("state", state_digest(module)):
        raise WorkFailed(f"{job.label}: changed since the sweep began. Run the same command again.")
    return module.to(device).eval()
