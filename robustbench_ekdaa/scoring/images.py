"""The adversarial images that a sweep keeps in its run folder: a file per attack and set of surrogates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cards import content_hash
from ..crafting import AdversarialImages, load_adversarial, save_adversarial
from ..errors import UsageError
from ..files import shown_path, tidy
from ..learning.checkpoint import tidy_checkpoints
from .plan import SurrogateSet, SweepPlan


@dataclass(frozen=True)
class ImageFile:
    """Where the images of one attack on one set of surrogates are kept, and the facts that are written beside them.

    Attributes:
        path: the file, there or not; its name holds the hash of everything that decides the images but epsilon.
        norm: the attack's norm.
        indices: positions of the N images in the test split, int64.
        facts: attack, data set and its fingerprint, surrogate, seed, precision; under "key" the hash in the name.

    """

    path: Path
    norm: str
    indices: Tensor
    facts: dict[str, Any]

    def read(self) -> AdversarialImages | None:
        """Return what the file holds; None if it is not there.

        Raises:
            UsageError: when it is damaged, or holds other images.

        """
        if not self.path.exists():
            return None
        try:
            found = load_adversarial(self.path)
            if not self._are_mine(found):
                raise UsageError(f"{shown_path(self.path)}: does not hold what its name says.")
        except UsageError as error:
            raise UsageError(f"{str(error).rstrip('.')}. Remove it and run again.") from None
        return found

    def _are_mine(self, found: AdversarialImages) -> bool:
        written, wanted = dict(found.facts), dict(self.facts)
        if "digest" in written:
            written, wanted = {"key": written.get("key")}, {"key": wanted["key"]}
        else:  # a file of an early release, which has neither
            wanted.pop("key")
        return written == wanted and found.norm == self.norm and torch.equal(found.indices, self.indices)

    def epsilons(self) -> tuple[float, ...]:
        """Return the epsilons whose images are in the file, none if it is not there; raises UsageError as `read`."""
        found = self.read()
        return () if found is None else found.epsilons

    def add(self, images: dict[float, Tensor]) -> None:
        """Add the images of some epsilons, each (N, C, H, W); the file is replaced as a whole or stays as it was.

        Raises:
            UsageError: when the file is damaged, or holds other images.
            WorkFailed: when the disk refuses.

        """
        before = self.read()
        if before is not None:
            images = dict(zip(before.epsilons, before.images, strict=True)) | images
        epsilons = tuple(sorted(images))
        stacked = torch.stack([images[epsilon] for epsilon in epsilons])
        save_adversarial(self.path, AdversarialImages(stacked, epsilons, self.norm, self.indices, self.facts))


def image_files(plan: SweepPlan, run: Path) -> dict[tuple[str | None, str], ImageFile]:
    """Return the file of every (surrogate, attack) of a sweep, by their keys; None is the surrogate of noise."""
    files = {}
    for key, attack in plan.attacks:
        for surrogates in plan.surrogate_sets(attack):
            surrogate = surrogates.key or ""  # which the names and the facts of files have held since the first release
            digest = content_hash([plan.images.key, surrogate, key])
            facts = {
                "key": digest,
                "attack": attack.name,
                "attack_key": key,
                "dataset": plan.dataset.name,
                "fingerprint": plan.dataset.fingerprint,
                "surrogate": surrogate,
                "members": [job.key for job in surrogates.members],
                "surrogate_name": surrogates.label,
                "seed": plan.spec.seed,
                "precision": plan.spec.precision,
            }
            path = run / "adversarial" / f"{attack.name}{_on(surrogates)}-{digest}.safetensors"
            files[surrogates.key, key] = ImageFile(path, attack.norm, plan.images.indices, facts)
    return files


@dataclass(frozen=True)
class MergedImages:
    """The images that several files of one name hold, of several runs.

    Attributes:
        parts: what each holds.

    """

    parts: tuple[AdversarialImages, ...]

    @property
    def conflicts(self) -> list[str]:
        """What does not fit, by epsilon."""
        found: dict[float, Tensor] = {}
        lines = []
        for part in self.parts:
            if part.norm != self.parts[0].norm or not torch.equal(part.indices, self.parts[0].indices):
                lines.append("which images it is about is another")
                continue
            for epsilon, images in zip(part.epsilons, part.images, strict=True):
                if not torch.equal(found.setdefault(epsilon, images), images):
                    lines.append(f"what its images at epsilon {epsilon:g} are is another")
        return lines

    def write(self, path: Path) -> None:
        """Write the images of all epsilons; raises WorkFailed when the disk refuses."""
        images = {
            epsilon: images
            for part in reversed(self.parts)
            for epsilon, images in zip(part.epsilons, part.images, strict=True)
        }
        epsilons, first = tuple(sorted(images)), self.parts[0]
        facts = {name: fact for name, fact in first.facts.items() if name != "digest"}
        stacked = torch.stack([images[epsilon] for epsilon in epsilons])
        save_adversarial(path, AdversarialImages(stacked, epsilons, first.norm, first.indices, facts))


def merge_image_files(paths: Sequence[Path]) -> MergedImages:
    """Read files of one name; raises UsageError for one that is damaged."""
    return MergedImages(tuple(load_adversarial(path) for path in paths))


def tidy_run(run: Path) -> None:
    """Remove what killed processes left in a run folder; what living ones hold stays."""
    tidy_checkpoints(run)
    tidy(run / "adversarial", r"\..+\.safetensors\.\d+\.tmp|\.tmp[A-Za-z0-9]{6}")


def _on(surrogates: SurrogateSet) -> str:
    """Say briefly what images were crafted on; the names of all members could be too long for a file's name."""
    if not surrogates.members:
        return ""
    first = surrogates.members[0]
    return f"-on-{first.card.name if len(surrogates.members) == 1 else 'ensemble'}-seed{first.seed}"
