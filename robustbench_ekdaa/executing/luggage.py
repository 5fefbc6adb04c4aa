"""What a job needs beside itself on a machine that has neither the run folder, nor the data, nor the cards' files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..cards import AttackCard, ExternalCard
from ..data import Dataset, shared_dataset
from ..errors import WorkFailed
from ..learning import ModelJob, TrainingJob
from ..learning.adversarial import AttackPlace, attack_of, attack_place
from ..learning.job import checkpoint_path
from ..registry import is_file_reference, referenced_source

Reference = tuple[str, Path | None]  # the FILE.py that a card names, and the folder in which it is looked for

# Data sets that were sent to this process, by fingerprint; it looks here before it looks into its own data folder.
SENT_DATASETS: dict[str, Dataset] = {}


def load_unchanged(source: str, fingerprint: str) -> Dataset:
    """Load a data set and make sure that it is still the one that was planned with."""
    if fingerprint in SENT_DATASETS:
        return SENT_DATASETS[fingerprint]
    dataset = shared_dataset(source)
    if dataset.fingerprint != fingerprint:
        raise WorkFailed(f"data set {source} changed while the sweep was running. Run the same command again.")
    return dataset


@dataclass(frozen=True)
class Luggage:
    """What a job needs.

    Attributes:
        run: the run folder.
        dataset: by what its data set is loaded, and the fingerprint.
        files: its files of the run folder: where they are in there, and where they are on this machine.
        sources: the content of the Python files that its cards name, and of no others.
        attacks: attack cards that model cards name, for adversarial training.
    """

    run: Path
    dataset: tuple[str, str]
    files: Mapping[str, Path]
    sources: Mapping[Reference, bytes]
    attacks: Mapping[AttackPlace, AttackCard] = field(default_factory=dict)


@runtime_checkable
class Portable(Protocol):
    """A job that can be done on another machine."""

    @property
    def luggage(self) -> Luggage | None:
        """What it needs there; None for a job that must be done where the run folder is."""

    def at(self, run: Path) -> Any:
        """Return the same job with its files of the run folder in another folder, at the same places."""


def luggage_of(
    run: Path,
    dataset: tuple[str, str],
    models: Iterable[ModelJob],
    *,
    attacks: Iterable[AttackCard] = (),
    files: Iterable[Path] = (),
) -> Luggage:
    """Return what a job about some models needs.

    Args:
        run: the run folder.
        dataset: by what the data set is loaded, and the fingerprint.
        models: their checkpoints come along where there are any.
        attacks: attack cards that the job holds.
        files: more files of the run folder, there or not.

    """
    models = tuple(models)
    trained = [(job.card, job.dataset) for job in models if isinstance(job, TrainingJob)]
    named = {
        place: attack for one in trained if (place := attack_place(*one)) and (attack := attack_of(*one)) is not None
    }
    wanted = [*(checkpoint_path(run, job.key) for job in models), *files]
    sources = {
        (name.rpartition(":")[0], folder): referenced_source(name, folder)
        for name, folder in (*_of_models(models), *_of_attacks((*attacks, *named.values())))
        if name is not None and is_file_reference(name)
    }
    places = {path.relative_to(run).as_posix(): path for path in wanted if path.exists()}
    return Luggage(run, dataset, places, sources, named)


def _of_models(models: Iterable[ModelJob]) -> Iterator[tuple[str | None, Path | None]]:
    for job in models:
        if isinstance(job, TrainingJob):
            network = job.card.network
            yield from ((job.card.rule, job.card.folder), (network.preset, network.folder))
            yield network.factory, network.folder
        elif isinstance(job.card, ExternalCard):
            yield job.card.external.factory, job.card.folder


def _of_attacks(attacks: Iterable[AttackCard]) -> Iterator[Reference]:
    for card in attacks:
        for part in card.parts:
            yield part.component, card.folder
