"""A sample of a run done again: trainings must give the same weights, craftings the same outcomes, to the bit.

What was made with other versions or on another device may round otherwise; then differences are told, and no fault.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ..cards import SweepSpec, Workspace
from ..data import shared_dataset
from ..environment import Environment, environment, mixed
from ..errors import UsageError
from ..executing.executor import one_thread
from ..files import read_tensors, shown_path
from ..learning import TrainingJob
from ..learning.job import checkpoint_path
from ..progress import Progress, Silent
from ..randomness import keyed_generator, permutation
from ..storing.keys import CraftingKey, ExistingOutcomes
from ..storing.outcomes import Outcomes
from ..storing.store import open_run
from .jobs import CraftAndScore, CraftingFailed, TrainModel
from .plan import CraftJob, SweepPlan, plan_sweep
from .trainings import checkpoints_of
from .verifying import Fault, Verified

Work = TypeVar("Work")


def recompute(
    verified: Verified,
    share: float,
    *,
    workspace: Workspace,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
) -> Verified:
    """Do a share of a run's trainings and craftings again, and add what came out to what was verified.

    Args:
        verified: what `verify_run` found.
        share: of all trainings, and of all craftings, in (0, 1]; at least one of each.
        workspace: where the cards are.
        device: where to compute.
        seed: chooses the sample.
        progress: gets bars.
    """
    sample = _Sample(verified.run, share, workspace, device, seed, progress or Silent())
    with one_thread():
        for outcomes in open_run(verified.run):
            sample.add(outcomes)
    return replace(
        verified,
        trainings=sample.trainings,
        craftings=sample.craftings,
        faults=(*verified.faults, *sample.faults),
        notes=(*verified.notes, *sample.notes),
    )


@dataclass
class _Sample:
    run: Path
    share: float
    workspace: Workspace
    device: str
    seed: int
    progress: Progress
    trainings: int = 0
    craftings: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, outcomes: Outcomes) -> None:
        """Do some of what belongs to one data set again."""
        try:
            spec = SweepSpec.model_validate(outcomes.spec)
            plan = plan_sweep(spec, self.workspace, shared_dataset(outcomes.dataset), self.device)
        except (UsageError, ValueError) as error:
            self.notes.append(f"{outcomes.dataset}: nothing of it was done again ({str(error).splitlines()[0]})")
            return
        trained = {key for key, model in outcomes.models.items() if model.status == "trained"}
        again = [job for job in plan.models if isinstance(job, TrainingJob)]
        if others := sum(job.key not in trained for job in again):
            self.notes.append(f"{outcomes.dataset}: {others} models are not those of the cards of today, or not there")
        for job in self._some([job for job in again if job.key in trained], "trainings"):
            self._train(job, outcomes)
        failed = {job.key for job in plan.models if job.key not in trained}
        for work in self._some(list(self._crafted(plan, failed, outcomes)), "craftings"):
            self._craft(work, plan, outcomes)

    def _some(self, work: Sequence[Work], what: str) -> Iterator[Work]:
        order = permutation(len(work), keyed_generator(self.seed, "verify", what)).tolist()
        chosen = sorted(order[: math.ceil(self.share * len(work))])
        bar = self.progress.task(f"{what} done again", len(chosen))
        for place in chosen:
            yield work[place]
            bar.advance()

    def _crafted(self, plan: SweepPlan, failed: set[str], outcomes: Outcomes) -> Iterator[CraftJob]:
        """Yield the craftings whose outcomes are all there."""
        for job in plan.craft_jobs(ExistingOutcomes(), failed):
            keys = [CraftingKey(job.surrogates.key, job.attack_key, epsilon) for epsilon, _ in job.wanted]
            wanted = zip(keys, (some for _, some in job.wanted), strict=True)
            if all(outcomes.cells.has(key, one.key) for key, some in wanted for one in some):
                yield job

    def _train(self, job: TrainingJob, outcomes: Outcomes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made, *_ = TrainModel(job, Path(folder), self.device)(Silent())
            if made.status == "failed":
                self._differs(job.label, f"failed now ({made.error})", {})
                return
            again = read_tensors(checkpoint_path(Path(folder), job.key)).tensors
        before = read_tensors(checkpoint_path(self.run, job.key)).tensors
        if before.keys() == again.keys() and all(torch.equal(before[name], again[name]) for name in before):
            self.trainings += 1
            return
        both = before.keys() & again.keys()
        apart = max((float((before[one] - again[one]).abs().max()) for one in both), default=0.0)
        made_with = outcomes.models[job.key].metrics.get("made_with") or {}
        self._differs(job.label, f"training it again gives other weights, up to {apart:.2g} apart", made_with)

    def _craft(self, job: CraftJob, plan: SweepPlan, outcomes: Outcomes) -> None:
        spec, trained = plan.spec, checkpoints_of(self.run, outcomes.models)
        dataset = plan.dataset.loaded_by, plan.dataset.fingerprint, plan.images.indices
        key = CraftingKey(job.surrogates.key, job.attack_key, job.wanted[0][0])
        size = outcomes.craftings.get(key, {}).get("batch_size", spec.batch_size)
        size = None if size is None else int(size)
        work = CraftAndScore(job, *dataset, spec.seed, trained, self.device, size, show=False, precision=spec.precision)
        found = work(Silent())
        if isinstance(found, CraftingFailed):
            self._differs(job.label, f"failed now ({found.cause})", {})
            return
        other = total = 0
        for epsilon, result in found.items():
            places = outcomes.cells.places(CraftingKey(job.surrogates.key, job.attack_key, epsilon))
            for block, classes in outcomes.cells.predictions(places):
                for target, before in zip(block.targets, classes, strict=True):
                    if target in result.predictions:
                        again = np.concatenate(result.predictions[target])
                        other, total = other + int((before != again).sum()), total + len(again)
        if not other:
            self.craftings += 1
            return
        made_with = outcomes.crafted_with[0] if len(outcomes.crafted_with) == 1 else {}
        self._differs(job.label, f"crafting it again gives {other:,} other outcomes of {total:,}", made_with)

    def _differs(self, label: str, what: str, made_with: Environment) -> None:
        """Note a difference: a fault, unless it was made with something else."""
        here = environment(self.device)
        differing = mixed([here, {name: made_with[name] for name in here if name in made_with}])
        if differing:
            told = ", ".join(f"{name} {made_with[name]}" for name in differing)
            self.notes.append(f"{label}: {what}; it was made with {told}")
        else:
            self.faults.append(Fault(shown_path(self.run), f"{label}: {what}"))
