"""The plan of a sweep: which models to train, which images to craft, which targets to score."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..cards import AnyModelCard, AttackCard, SweepSpec, Workspace, content_hash, without_repeats
from ..crafting import attack_key, build_attempt, check_epsilons, doubts
from ..data import Dataset
from ..environment import as_text, environment
from ..errors import UsageError
from ..learning import LoadingJob, ModelJob, TrainingJob, kept_jobs, model_job
from ..randomness import keyed_generator, permutation
from ..storing.keys import CraftingKey, ExistingOutcomes
from ..storing.packing import Roles


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
        indices = permutation(total, keyed_generator(seed, "images"))[: count or total]
        key = content_hash({"data": dataset.fingerprint, "seed": seed, "count": len(indices)})
        return ImageSet(key, indices)


@dataclass(frozen=True)
class SurrogateSet:
    """The models that images are crafted on together: none (noise), one, or several of one training seed."""

    members: tuple[ModelJob, ...] = ()

    @staticmethod
    def ensemble(jobs: Iterable[ModelJob]) -> SurrogateSet:
        """Put models together, in an order that does not depend on how the sweep names them."""
        return SurrogateSet(tuple(sorted(jobs, key=lambda job: job.key)))

    @property
    def key(self) -> str | None:
        """The model's key, a content hash of the members' keys, or None for nobody."""
        if len(self.members) > 1:
            return ensemble_key([job.key for job in self.members])
        return self.members[0].key if self.members else None

    @property
    def label(self) -> str:
        """What progress bars call it."""
        names = "+".join(sorted(job.card.name for job in self.members))
        return f"{names} seed {self.members[0].seed}" if self.members else "nobody"


def ensemble_key(members: Sequence[str]) -> str:
    """Return the key of an ensemble of models, given in the order of `SurrogateSet.ensemble`."""
    return content_hash({"ensemble": list(members)})


@dataclass(frozen=True)
class CraftJob:
    """Craft one attack on one set of surrogates, and score the targets whose outcomes are missing.

    Attributes:
        surrogates: the models to attack on.
        attack: the attack card.
        attack_key: hash of the card, the sweep's seed and precision.
        wanted: per epsilon, ascending, the targets to score; none where only the images are missing.
        strict: text of the environment that it is to be crafted in, and nowhere else; "" for any.

    """

    surrogates: SurrogateSet
    attack: AttackCard
    attack_key: str
    wanted: tuple[tuple[float, tuple[ModelJob, ...]], ...]
    strict: str = ""

    @property
    def label(self) -> str:
        """What progress bars call it."""
        return f"{self.attack.name} on {self.surrogates.label}" if self.surrogates.members else self.attack.name


@dataclass(frozen=True)
class SweepPlan:
    """All jobs of a sweep on one data set, stored or not; `scoring.driver` drops the stored ones."""

    dataset: Dataset
    images: ImageSet
    surrogates: tuple[ModelJob, ...]
    targets: tuple[ModelJob, ...]
    attacks: tuple[tuple[str, AttackCard], ...]
    spec: SweepSpec
    device: str = "cpu"

    @property
    def models(self) -> tuple[ModelJob, ...]:
        """All models, each once."""
        return tuple({job.key: job for job in (*self.targets, *self.surrogates)}.values())

    @property
    def to_train(self) -> tuple[ModelJob, ...]:
        """All models, and those that trainings keep on their way, each once."""
        kept = kept_jobs(self.models, self.spec.keep_epochs)
        return tuple({job.key: job for job in (*self.models, *kept)}.values())

    def roles(self) -> Roles:
        """What belongs to this sweep, by key."""
        members = [[job.key for job in one.members] for one in self.ensembles]
        return Roles(
            surrogates=[job.key for job in self.surrogates],
            targets=[job.key for job in self.targets],
            attacks=[key for key, _ in self.attacks],
            epsilons=list(self.spec.epsilons),
            ensembles={ensemble_key(keys): keys for keys in members},
            foreign=[job.key for job in self.surrogates if job.card.role == "surrogate"] or None,
            labels={job.key: job.label for job in self.models},
        )

    def doubts(self) -> list[str]:
        """Say which attacks do not suit images of this size."""
        shape = self.dataset.image_shape
        cards = [card for _, card in self.attacks]
        return [f"{card.name}: {doubt}" for card in cards for doubt in doubts((*card.input, *card.gradient), shape)]

    @property
    def ensembles(self) -> tuple[SurrogateSet, ...]:
        """All surrogates of a training seed together, seed by seed; none if no attack of the sweep takes them so."""
        if not any(attack.uses_ensemble for _, attack in self.attacks):
            return ()
        seeds = range(self.spec.surrogate_seeds or self.spec.seeds)
        return tuple(SurrogateSet.ensemble(job for job in self.surrogates if job.seed == seed) for seed in seeds)

    def surrogate_sets(self, attack: AttackCard) -> tuple[SurrogateSet, ...]:
        """Return the sets of surrogates that an attack is crafted on, one after the other."""
        if attack.uses_ensemble:
            return self.ensembles
        return tuple(SurrogateSet((job,)) for job in self.surrogates) if attack.uses_surrogate else (SurrogateSet(),)

    def craft_jobs(
        self,
        stored: ExistingOutcomes,
        failed: Collection[str],
        saved: Mapping[tuple[str | None, str], Sequence[float]] | None = None,
    ) -> list[CraftJob]:
        """Return what is still to craft and score.

        Nothing is crafted on an ensemble with a failed member: the attack would be weaker, under the same name.

        Args:
            stored: which outcomes exist.
            failed: keys of models that could not be trained.
            saved: (surrogate, attack) -> the epsilons whose images are saved; None when images are not to be saved.

        """
        every = [
            self.craft_job(key, attack, surrogates, stored, failed, saved)
            for key, attack in self.attacks
            for surrogates in self.surrogate_sets(attack)
        ]
        return [job for job in every if job is not None]

    def craft_job(
        self,
        attack_key: str,
        attack: AttackCard,
        surrogates: SurrogateSet,
        stored: ExistingOutcomes,
        failed: Collection[str],
        saved: Mapping[tuple[str | None, str], Sequence[float]] | None = None,
        apart: Collection[str] = (),
    ) -> CraftJob | None:
        """Return what is still to craft of one attack on one set of surrogates; None for nothing. See `craft_jobs`.

        Targets whose keys are in `apart` are left out.
        """
        if any(job.key in failed for job in surrogates.members):
            return None
        wanted = []
        for epsilon in self.spec.epsilons:
            there = stored.targets(CraftingKey(surrogates.key, attack_key, epsilon))
            left_out = {*there, *failed, *apart}
            missing = tuple(job for job in self.targets if job.key not in left_out)
            unsaved = saved is not None and epsilon not in saved[surrogates.key, attack_key]
            if epsilon > 0 and (missing or unsaved):
                wanted.append((epsilon, missing))
        strict = _strict(self.spec, attack, self.device)
        return CraftJob(surrogates, attack, attack_key, tuple(wanted), strict) if wanted else None


def _strict(spec: SweepSpec, card: AttackCard, device: str) -> str:
    return as_text(environment(device, card.library)) if spec.strict_versions else ""


def model_jobs(cards: Sequence[AnyModelCard], dataset: Dataset, seeds: int, strict: str = "") -> tuple[ModelJob, ...]:
    """Return one job per card and seed, card by card."""
    return tuple(model_job(dataset, card, seed, strict=strict) for card in cards for seed in range(seeds))


def refuse_twins(jobs: Iterable[ModelJob]) -> None:
    """Raise UsageError for two names of one model, one name of two, or two seeds that stand for the same weights."""
    names: dict[str, str] = {}
    seeds: dict[tuple[str, str], int] = {}
    keys: dict[tuple[str, int], str] = {}
    for job in jobs:
        name = job.card.name
        other = names.setdefault(job.key, name)
        if other != name:
            alike = "rule, network, recipe" if isinstance(job, TrainingJob) else "code, weights, options"
            raise UsageError(f"models {other} and {name} are the same model (same {alike}); name one of them")
        if isinstance(job, LoadingJob):
            seed = seeds.setdefault((name, content_hash([job.identity, job.fingerprint])), job.seed)
            if seed != job.seed:
                raise UsageError(
                    f"{name}: its seeds {seed} and {job.seed} have the same weights, and count as two trainings. "
                    "Give each its own, or ask for fewer seeds."
                )
        if keys.setdefault((name, job.seed), job.key) != job.key:
            raise UsageError(f"two different model cards have the name {name}; rename one of them")


def plan_sweep(spec: SweepSpec, workspace: Workspace, dataset: Dataset, device: str = "cpu") -> SweepPlan:
    """Turn a specification into jobs on one data set, to be done on a device.

    Raises:
        UsageError: for an unknown name, two cards that describe the same model, an attack card that cannot be built, an
            ensemble of one, or an epsilon that reaches beyond all images.

    """
    strict = as_text(environment(device)) if spec.strict_versions else ""
    surrogates, targets = (
        model_jobs(without_repeats(workspace.expand_models(names), dataset.name), dataset, seeds, strict)
        for names, seeds in (
            (spec.surrogate_names, spec.surrogate_seeds or spec.seeds),
            (spec.target_names, spec.seeds),
        )
    )
    refuse_twins((*surrogates, *targets))
    cards = workspace.expand_attacks(spec.attacks)
    for card in cards:
        build_attempt(card)  # now, and not after training: what is wrong in a component is found when it is built
        check_epsilons(card.norm, dataset.image_shape, spec.epsilons, f"attack {card.name}")
    together = [card.name for card in cards if card.uses_ensemble]
    if together and len({job.card.name for job in surrogates}) < 2:
        raise UsageError(
            f"{', '.join(together)}: crafted on several surrogate cards together, but the sweep has only "
            f"{surrogates[0].card.name}. Name more --surrogates, or leave these attacks out."
        )
    attacks = tuple((attack_key(card, spec.seed, spec.precision, _strict(spec, card, device)), card) for card in cards)
    images = ImageSet.choose(dataset, spec.images, spec.seed)
    return SweepPlan(dataset, images, surrogates, targets, attacks, spec, device)
