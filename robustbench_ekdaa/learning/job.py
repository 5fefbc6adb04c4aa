"""What there is to train: one model of a card, a data set and a seed; and the files that a run folder keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..arguments import share, whole
from ..cards import ModelCard, NetworkSpec, content_hash, kept_cards
from ..data.dataset import Dataset
from ..errors import located
from ..networks import network_blocks
from ..registry import FACTORIES, is_file_reference, referenced_digest
from .adversarial import adversarial_key

# Part of every model's identity: raise it when a change here would give other weights from the same card.
TRAINING_VERSION = 2
MOST_HELD_OUT = 0.9


@dataclass(frozen=True)
class TrainingJob:
    """One model to train.

    Attributes:
        card: the model card.
        dataset: the data set's name.
        fingerprint: the data set's fingerprint.
        seed: draws the weights, the feedback and the order of the images.
        held_out: share of the training images that is kept aside for choosing a recipe, in [0, 0.9].
        strict: text of the environment that it is to be trained in, and nowhere else; "" for any.
        source: what the data set is loaded by where that is not its name; not part of the key.

    """

    card: ModelCard
    dataset: str
    fingerprint: str
    seed: int
    held_out: float = 0.0
    source: str | None = None
    strict: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed))
        object.__setattr__(self, "held_out", share("held_out", self.held_out, most=MOST_HELD_OUT))

    @classmethod
    def on(cls, dataset: Dataset, card: ModelCard, seed: int, held_out: float = 0.0, strict: str = "") -> TrainingJob:
        """Return the job of training a card on a data set."""
        return cls(card, dataset.name, dataset.fingerprint, seed, held_out, dataset.source, strict)

    @property
    def loaded_by(self) -> str:
        """By what any process can load the data set."""
        return self.source or self.dataset

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the weights; the checkpoint's name."""
        with located(self.card.at("network")):
            network = resolved_network(self.card.network)
        return content_hash(
            {
                "version": TRAINING_VERSION,
                "card": self.card.identity(self.dataset),
                "network": network,
                "data": self.fingerprint,
                "seed": self.seed,
                "held_out": self.held_out,
                **adversarial_key(self.card, self.dataset),
                **({"made_with": self.strict} if self.strict else {}),
            }
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything in the card, except its network, that decides the weights."""
        return self.card.identity(self.dataset)

    @property
    def network(self) -> str:
        """Hash of the network without what it learns."""
        return content_hash(resolved_network(self.card.network))

    @property
    def epochs(self) -> int:
        """After how many epochs the model is finished."""
        return self.card.epochs(self.dataset)

    @property
    def whole(self) -> TrainingJob:
        """The training that this is an epoch of; itself, unless its card stops after an epoch."""
        return replace(self, card=self.card.whole)

    def kept(self, every: int) -> tuple[TrainingJob, ...]:
        """Return the models that every K-th epoch gives on the way, without the last, which is this one."""
        return tuple(replace(self, card=card) for card in kept_cards(self.card, self.dataset, every))

    @property
    def label(self) -> str:
        """What progress bars call it."""
        return f"{self.card.name} on {self.dataset}, seed {self.seed}"


def resolved_network(spec: NetworkSpec) -> dict[str, Any]:
    """Return a network's whole description, presets and defaults looked up, as plain data."""
    if spec.factory is not None:
        return described_factory(spec)
    blocks = [block.model_dump(mode="json", exclude_defaults=True) for block in network_blocks(spec)]
    return {"blocks": blocks, "readout_bias": spec.bias}


def described_factory(spec: NetworkSpec) -> dict[str, Any]:
    """Return all that decides what a factory makes: its name and options, and the content of its file."""
    assert spec.factory is not None
    name = FACTORIES.spelled(spec.factory)  # again, because it may have been registered after the card was read
    facts: dict[str, Any] = {"factory": name, "options": spec.options}
    if is_file_reference(name):
        facts |= {"factory": name.rpartition(":")[2], "factory_file": referenced_digest(name, spec.folder)}
    return facts


def checkpoint_path(run: Path, key: str) -> Path:
    """Where a run folder keeps a model."""
    return run / "checkpoints" / f"{key}.safetensors"


def partial_path(run: Path, key: str) -> Path:
    """Where a run folder keeps a model that is still in training."""
    return run / "checkpoints" / f"{key}.partial.safetensors"


def log_path(run: Path, key: str) -> Path:
    """Where a run folder keeps a model's per-epoch log, JSON lines."""
    return run / "logs" / f"{key}.jsonl"
