"""Probing the models of a run: which are missing, the jobs that load and ask them, and keeping what they found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..cards import AttackCard, Workspace, content_hash
from ..cards.crossing import EPOCH
from ..data import Dataset, shared_dataset
from ..errors import UsageError, WorkFailed
from ..executing.executor import executor
from ..executing.luggage import Luggage, load_unchanged, luggage_of
from ..executing.ray_cluster import RayCluster
from ..learning import ModelJob, model_job
from ..progress import Progress
from ..storing.outcomes import AttackRecord, Outcomes
from ..storing.store import reading, writing
from .jobs import Checkpoints
from .probing import SAMPLE, Facts, ProbeSpec, probe_data, probe_model
from .trainings import trained_models

STEPS = 50  # an attack of more is taken only where there is no other: a probe should take seconds
NO_GRID = (0.05, 0.1)  # epsilons where a run was swept at none


@dataclass(frozen=True)
class ProbeModel:
    """Ask one model about a sample of its sweep's images; what stands in the way is told, and no error."""

    job: ModelJob
    indices: Tensor
    spec: ProbeSpec
    trained: Checkpoints
    device: str

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"the probing of {self.job.label}"

    @property
    def luggage(self) -> Luggage:
        """What it needs on another machine."""
        dataset = self.job.loaded_by, self.job.fingerprint
        return luggage_of(self.trained.run, dataset, [self.job], attacks=[self.spec.attack])

    def at(self, run: Path) -> ProbeModel:
        """Return the same job for another run folder."""
        return replace(self, trained=replace(self.trained, run=run))

    def __call__(self, progress: Progress) -> Facts | str:
        """Return what was found, or why nothing was."""
        try:
            dataset = load_unchanged(self.job.loaded_by, self.job.fingerprint)
            network = self.trained.load(self.job, dataset, self.device)
            images = dataset.test.images[self.indices].to(self.device)
            labels = dataset.test.labels[self.indices].to(self.device)
            return probe_model(network, images, labels, self.indices.tolist(), self.spec)
        except (UsageError, WorkFailed) as error:
            return f"{self.job.label}: not probed ({error})"


def with_probes(
    run: Path,
    everything: Sequence[Outcomes],
    *,
    cards: Collection[str] | None,
    workspace: Workspace,
    device: str,
    workers: int | RayCluster | None,
    progress: Progress,
) -> list[Outcomes]:
    """Probe what was not probed yet, keep that in the store, and return the outcomes with it.

    A model whose card is not in the workspace, or was changed, and one whose checkpoint is gone cannot be asked: a line
    says so. A store that cannot be written, or that another command writes to, is left as it is.

    Args:
        run: the run folder.
        everything: its outcomes.
        cards: names of the model cards to probe; None for all.
        workspace: where the cards are.
        device: where to compute.
        workers: jobs side by side.
        progress: gets lines and a bar.
    """
    with reading(run) as store:
        trained = trained_models(store)
        plans = [_plan(one, store.probed(one.image_set, _what(one)), cards, workspace, progress) for one in everything]
    found = []
    with executor(workers, progress, device) as runner:
        for outcomes, (data, jobs) in zip(everything, plans, strict=True):
            facts = dict(data)
            spec, indices = probe_spec(outcomes), _sample(outcomes)
            work = [ProbeModel(job, indices, spec, trained, device) for job in jobs]
            bar = progress.task(f"probes of {outcomes.dataset}", len(work)) if work else None
            for position, result in runner.run(work):
                if isinstance(result, str):
                    progress.line(result)
                else:
                    facts[jobs[position].key] = result
                if bar:
                    bar.advance()
            if facts:
                _keep(run, outcomes, facts, progress)
            found.append(replace(outcomes, probes={**outcomes.probes, **facts}))
    return found


def probe_spec(outcomes: Outcomes) -> ProbeSpec:
    """Choose what models are probed with: the sweep's attack of most steps up to `STEPS`, where cards are compared.

    That is at the epsilon that the sweep declares for the attack's norm, else at its middle one.
    """
    norms = [record.norm for record in outcomes.attacks.values() if not record.imported]
    plain = AttackCard.model_validate({"kind": "attack", "name": "bim", "norm": norms[0] if norms else "linf"})
    attacks = [card for record in outcomes.attacks.values() if (card := _card(record))]
    attack = max(attacks, key=lambda card: (card.steps <= STEPS, min(card.steps, STEPS), -card.steps), default=plain)
    epsilons = [epsilon for epsilon in outcomes.epsilons if epsilon > 0] or list(NO_GRID)
    middle = min(epsilons, key=lambda epsilon: (abs(epsilon - epsilons[-1] / 2), epsilon))
    declared = (outcomes.spec.get("verdict_epsilon") or {}).get(attack.norm, middle)
    return ProbeSpec(
        attack, declared if declared in epsilons else middle, epsilons[-1], int(outcomes.spec.get("seed", 0))
    )


def _card(record: AttackRecord) -> AttackCard | None:
    """Return the card of an attack that follows the gradient of one surrogate in several steps; None for others."""
    if record.imported or record.together or record.card.get("adapter") or record.card.get("target"):
        return None
    try:
        card = AttackCard.model_validate(record.card)
    except ValueError:  # of an earlier release, or with a component that is not here
        return None
    return card if card.steps > 1 and card.uses_surrogate else None


def _what(outcomes: Outcomes) -> str:
    return content_hash(probe_spec(outcomes).facts())


def _sample(outcomes: Outcomes) -> Tensor:
    return torch.tensor(outcomes.indices[:SAMPLE])


def _plan(
    outcomes: Outcomes, known: set[str], cards: Collection[str] | None, workspace: Workspace, progress: Progress
) -> tuple[dict[str, Facts], list[ModelJob]]:
    """Return what is said of the data, if that is not known, and the models that are still to be asked."""
    records = [one for one in outcomes.models.values() if one.status == "trained" and one.key not in known]
    records = [
        one for one in records if EPOCH not in one.name
    ]  # earlier epochs are there to be compared at one accuracy
    records = [one for one in records if cards is None or one.name in cards]
    if "" in known and not records:
        return {}, []
    try:
        dataset = shared_dataset(_dataset_name(outcomes))
    except UsageError as error:
        progress.line(f"{outcomes.dataset}: not probed ({error})")
        return {}, []
    same = {one.fingerprint for one in outcomes.models.values()} <= {None, dataset.fingerprint}
    jobs = []
    for record in records:
        try:
            job = model_job(dataset, workspace.model(record.name), record.seed, strict=record.metrics.get("strict", ""))
        except UsageError as error:
            progress.line(f"{record.name}, seed {record.seed}: not probed ({error})")
            continue
        if job.key == record.key:
            jobs.append(job)
        else:
            progress.line(f"{record.name}, seed {record.seed}: not probed (its card or data are others now)")
    return ({"": _data_facts(dataset, outcomes)} if same and "" not in known else {}), jobs


def _dataset_name(outcomes: Outcomes) -> str:
    return next(iter(outcomes.models.values())).dataset if outcomes.models else outcomes.dataset


def _data_facts(dataset: Dataset, outcomes: Outcomes) -> Facts:
    return probe_data(dataset, torch.tensor(outcomes.indices))


def _keep(run: Path, outcomes: Outcomes, facts: dict[str, Facts], progress: Progress) -> None:
    """Store what was found; it is worth no error where that cannot be."""
    try:
        with writing(run, progress, patient=False) as store:
            store.add_probes(outcomes.image_set, _what(outcomes), facts)
    except (UsageError, WorkFailed) as error:
        progress.line(f"what the probes found was not kept ({error})")
