"""The plan of a sweep: which models to train, which images to craft, which targets to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..cards import AttackCard, ModelCard, SweepSpec, Workspace, content_hash
from ..data import Dataset
from ..errors import UsageError
from ..learning import TrainingJob
from ..randomness import keyed_generator

# Part of every attack's identity: raise it when a change in crafting would give other images from the same card.
CRAFTING_VERSION = 1
CLEAN = ("", "", 0.0)  # the (surrogate, attack, epsilon) under which clean predictions are stored


@dataclass(frozen=True)
class ImageSet:
    """The test images of a sweep: a prefix of one keyed permutation, so that more images extend fewer."""

    key: str
    indices: torch.Tensor

    @staticmethod
    def choose(dataset: Dataset, count: int | None, seed: int) -> ImageSet:
        """Choose `count` test images (default all); raises UsageError if there are not as many."""
        total = len(dataset.test)
        if count is not None and count > total:
            raise UsageError(f"images: {dataset.name} has {total} test images (got {count})")
        indices = torch.randperm(total, generator=keyed_generator(seed, "images"))[: count or total]
        key = content_hash({"data": dataset.fingerprint, "seed": seed, "count": len(indices)})
        return ImageSet(key, indices)


@dataclass(frozen=True)
class CraftJob:
    """Craft one attack on one surrogate (none for noise) and score the targets whose outcomes are missing.

    Attributes:
        surrogate: the model to attack on, or None.
        attack: the attack card.
        attack_key: hash of the card and the sweep's seed.
        wanted: per epsilon, ascending, the targets to score.

    """

    surrogate: TrainingJob | None
    attack: AttackCard
    attack_key: str
    wanted: tuple[tuple[float, tuple[TrainingJob, ...]], ...]

    @property
    def surrogate_key(self) -> str:
        """The surrogate's key, or "" for none."""
        return self.surrogate.key if self.surrogate else ""

    @property
    def label(self) -> str:
        """What progress bars call it."""
        on = f" on {self.surrogate.card.name} seed {self.surrogate.seed}" if self.surrogate else ""
        return f"{self.attack.name}{on}"


@dataclass(frozen=True)
class SweepPlan:
    """All jobs of a sweep on one data set, stored or not; `scoring.sweep` drops the stored ones."""

    dataset: Dataset
    images: ImageSet
    surrogates: tuple[TrainingJob, ...]
    targets: tuple[TrainingJob, ...]
    attacks: tuple[tuple[str, AttackCard], ...]
    spec: SweepSpec

    @property
    def models(self) -> tuple[TrainingJob, ...]:
        """All models, each once."""
        return tuple({job.key: job for job in (*self.targets, *self.surrogates)}.values())

    def roles(self) -> dict[str, Any]:
        """What belongs to this sweep, by key, as plain data."""
        return {
            "surrogates": [job.key for job in self.surrogates],
            "targets": [job.key for job in self.targets],
            "attacks": [key for key, _ in self.attacks],
            "epsilons": list(self.spec.epsilons),
        }

    def craft_jobs(self, stored: set[tuple[str, str, float, str]], failed: set[str]) -> list[CraftJob]:
        """Return what is still to craft and score.

        Args:
            stored: (surrogate, attack, epsilon, target) keys of the outcomes that exist.
            failed: keys of models that could not be trained.

        """
        targets = [job for job in self.targets if job.key not in failed]
        jobs = []
        for key, attack in self.attacks:
            for surrogate in self.surrogates if attack.uses_surrogate else (None,):
                if surrogate is not None and surrogate.key in failed:
                    continue
                name = surrogate.key if surrogate else ""
                wanted = []
                for epsilon in self.spec.epsilons:
                    missing = tuple(job for job in targets if (name, key, epsilon, job.key) not in stored)
                    if epsilon > 0 and missing:
                        wanted.append((epsilon, missing))
                if wanted:
                    jobs.append(CraftJob(surrogate, attack, key, tuple(wanted)))
        return jobs


def training_jobs(cards: Sequence[ModelCard], dataset: Dataset, seeds: int) -> tuple[TrainingJob, ...]:
    """Return one training job per card and seed, card by card."""
    return tuple(TrainingJob(card, dataset.name, dataset.fingerprint, seed) for card in cards for seed in range(seeds))


def attack_key(card: AttackCard, seed: int) -> str:
    """Return the hash of all that decides an attack's images besides surrogate, image and epsilon."""
    return content_hash({"version": CRAFTING_VERSION, "card": card.identity(), "seed": seed})


def plan_sweep(spec: SweepSpec, workspace: Workspace, dataset: Dataset) -> SweepPlan:
    """Turn a specification into jobs on one data set.

    Raises:
        UsageError: for an unknown name, or two cards that describe the same model.

    """
    surrogates = training_jobs([workspace.models[name] for name in spec.surrogate_names], dataset, spec.seeds)
    targets = training_jobs([workspace.models[name] for name in spec.target_names], dataset, spec.seeds)
    owners: dict[str, str] = {}
    for job in (*surrogates, *targets):
        other = owners.setdefault(job.key, job.card.name)
        if other != job.card.name:
            raise UsageError(
                f"models {other} and {job.card.name} are the same model (same rule, network, recipe); name one of them"
            )
    attacks = tuple((attack_key(card, spec.seed), card) for card in workspace.expand_attacks(spec.attacks))
    images = ImageSet.choose(dataset, spec.images, spec.seed)
    return SweepPlan(dataset, images, surrogates, targets, attacks, spec)
