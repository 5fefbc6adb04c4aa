"""What a sweep is about to do: jobs, what is stored already and why the rest is not, passes, bytes, and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path
from typing import Any, Literal

from ..crafting.passes import Passes, passes
from ..executing.executor import one_thread
from ..learning import ModelJob, TrainingJob, by_training
from ..learning.job import checkpoint_path
from ..storing.keys import ExistingOutcomes, OutcomeKey
from ..storing.selection import Everything
from ..storing.store import Store
from .driver import saved_images
from .plan import CraftJob, SweepPlan
from .reasons import reasons
from .speeds import Basis, Speeds

WorkKind = Literal["training", "clean pass", "attack"]
ROW_BYTES = 150  # of a stored cell beside its classes


@dataclass(frozen=True)
class PlannedWork:
    """What is to be done of one kind: the trainings of a card, the clean passes, or the craftings of an attack.

    Attributes:
        kind: "training", "clean pass" or "attack".
        dataset: the data set's name.
        name: the model card's, or the attack's; None for the clean passes.
        jobs: how many jobs are to be done.
        stored: how many are stored already, wholly.
        cells: how many cells the jobs give.
        forward: images passed forward; None where nobody knows before, for attacks of other libraries.
        backward: images passed backward.
        seconds: on one core; None where it is not known.
        basis: "measured": the run has measured it; "timed now": by one tiny step; "unknown".

    """

    kind: WorkKind
    dataset: str
    name: str | None
    jobs: int
    stored: int
    cells: int
    forward: float | None
    backward: float | None
    seconds: float | None
    basis: Basis


@dataclass(frozen=True)
class Forecast:
    """What a sweep is about to do; nothing was made for it.

    Attributes:
        work: what is to be done, kind by kind.
        reasons: why what the run holds in another form is computed again, a line each.
        checkpoint_bytes: what the trained models take on the disk, about.
        outcome_bytes: what the outcomes take at most, about.
        image_bytes: what saved adversarial images take.
        slots: jobs side by side; None where a cluster decides.

    """

    work: tuple[PlannedWork, ...]
    reasons: tuple[str, ...]
    checkpoint_bytes: int
    outcome_bytes: int
    image_bytes: int
    slots: int | None

    @property
    def jobs(self) -> dict[str, int]:
        """How many jobs there are of each kind."""
        return {
            kind: sum(one.jobs for one in self.work if one.kind == kind)
            for kind in ("training", "clean pass", "attack")
        }

    @property
    def seconds(self) -> float:
        """On one core, without what is not known."""
        return sum(one.seconds or 0.0 for one in self.work)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of what is not in `seconds`."""
        return tuple(one.name or one.kind for one in self.work if one.jobs and one.seconds is None)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "seconds": self.seconds, "unknown": list(self.unknown)}


def forecast(
    plans: Sequence[SweepPlan],
    run: Path,
    store: Store | None,
    *,
    device: str,
    slots: int | None,
    retry_failed: bool = False,
) -> Forecast:
    """Return what is to be done of the plans.

    Args:
        plans: one per data set.
        run: the run folder, there or not.
        store: its store; None if it has none.
        device: where work is to be done.
        slots: jobs side by side.
        retry_failed: whether models that failed before are trained anew.

    """
    stored = None if store is None else store.everything()
    with one_thread():
        parts = [_Part(plan, run, store, stored, device, retry_failed=retry_failed) for plan in plans]
        work = tuple(one for part in parts for one in part.work())
    return Forecast(
        work,
        tuple(line for part in parts if stored for line in reasons(part.plan, stored, run, part.to_train)),
        sum(part.speeds.checkpoint_bytes(job) for part in parts for job in part.to_train),
        sum(part.outcome_bytes() for part in parts),
        sum(part.image_bytes() for part in parts),
        slots,
    )


class _Part:
    """One data set's part."""

    def __init__(
        self,
        plan: SweepPlan,
        run: Path,
        store: Store | None,
        stored: Everything | None,
        device: str,
        *,
        retry_failed: bool,
    ) -> None:
        known = stored.models if stored else {}
        self.plan, self.images = plan, len(plan.images.indices)
        self.there = store.stored(plan.images.key) if store else ExistingOutcomes()
        self.saved = saved_images(plan, run)
        failed = set() if retry_failed else {key for key, record in known.items() if record.status == "failed"}
        trained = {job.key for job in plan.to_train if job.key in known and checkpoint_path(run, job.key).exists()}
        self.to_train = [job for job in plan.to_train if job.key not in trained | failed]
        self.trained, self.failed = trained, failed
        self.models = {job.key: job for job in plan.models}
        self.jobs = plan.craft_jobs(self.there, failed, self.saved)
        facts = {key: store.crafting_facts(key) for key in stored.image_sets} if store and stored else {}
        self.speeds = Speeds(plan.dataset, device, stored, facts)

    def work(self) -> Iterator[PlannedWork]:
        """Yield what is to be done, kind by kind."""
        yield from self._trainings()
        yield self._clean_passes()
        yield from self._attacks()

    def _trainings(self) -> Iterator[PlannedWork]:
        to_do = [job for job, _ in by_training(self.to_train)]
        for name in dict.fromkeys(job.card.name for job in self.plan.models):
            jobs = [job for job in to_do if job.card.name == name]
            stored = sum(job.card.name == name and job.key in self.trained for job in self.plan.models)
            times = [self.speeds.training(job) for job in jobs]
            shown = float(
                sum(len(self.plan.dataset.train) * job.epochs for job in jobs if isinstance(job, TrainingJob))
            )
            yield self._row("training", name, len(jobs), stored, 0, Passes(shown, shown), *_together(times))

    def _clean_passes(self) -> PlannedWork:
        models = [job for job in self.plan.models if job.key not in self.failed]
        jobs = [job for job in models if OutcomeKey.clean(job.key) not in self.there]
        shown = Passes(self.images * len(jobs), 0)
        times = [self._scoring([job]) for job in jobs]
        return self._row("clean pass", None, len(jobs), len(models) - len(jobs), len(jobs), shown, *_together(times))

    def _attacks(self) -> Iterator[PlannedWork]:
        for key, card in self.plan.attacks:
            jobs = [job for job in self.jobs if job.attack_key == key]
            sets = [
                one for one in self.plan.surrogate_sets(card) if not any(job.key in self.failed for job in one.members)
            ]
            cells = sum(len(targets) for job in jobs for _, targets in job.wanted)
            counts, times = [self._passes(job) for job in jobs], [self._crafting(job) for job in jobs]
            known = [count for count in counts if count is not None]
            total = sum(known, Passes(0, 0)) if len(known) == len(counts) else None
            yield self._row("attack", card.name, len(jobs), len(sets) - len(jobs), cells, total, *_together(times))

    def _row(
        self,
        kind: WorkKind,
        name: str | None,
        jobs: int,
        stored: int,
        cells: int,
        shown: Passes | None,
        seconds: float | None,
        basis: Basis,
    ) -> PlannedWork:
        forward, backward = (None, None) if shown is None else (shown.forward, shown.backward)
        dataset = self.plan.dataset.name
        return PlannedWork(kind, dataset, name, jobs, stored, cells, forward, backward, seconds, basis)

    def _passes(self, job: CraftJob) -> Passes | None:
        """Return the images passed through networks in crafting and scoring."""
        made = passes(job.attack, len(job.wanted), max(len(job.surrogates.members), 1), self.speeds.modes(job))
        scored = Passes(sum(len(targets) for _, targets in job.wanted), 0)
        return None if made is None else (made + scored) * self.images

    def _crafting(self, job: CraftJob) -> tuple[float | None, Basis]:
        measured = self.speeds.crafting(job)
        if measured is not None:
            return measured * self.images * len(job.wanted), "measured"
        members = job.surrogates.members
        made = passes(job.attack, len(job.wanted), max(len(members), 1), self.speeds.modes(job))
        speeds = [self.speeds.passes(member) for member in members]
        scoring, _ = self._scoring([target for _, targets in job.wanted for target in targets])
        known = [speed for speed in speeds if speed is not None]
        if made is None or scoring is None or len(known) < len(speeds):
            return None, "unknown"
        share = 1 / max(len(members), 1)
        each = sum(share * (made.forward * forward + made.backward * backward) for forward, backward in known)
        return each * self.images + scoring, "timed now"

    def _scoring(self, jobs: Iterable[ModelJob]) -> tuple[float | None, Basis]:
        total = 0.0
        for key, times in Counter(job.key for job in jobs).items():
            speed = self.speeds.passes(self.models[key])
            if speed is None:
                return None, "unknown"
            total += times * speed[0]
        return total * self.images, "timed now"

    def outcome_bytes(self) -> int:
        """Return what the outcomes take at most: classes in as few bits as they need, and each cell's row."""
        cells = self._clean_passes().jobs + sum(len(targets) for job in self.jobs for _, targets in job.wanted)
        bits = log2(len(self.plan.dataset.classes) + 1)
        return round(cells * (self.images * bits / 8 + ROW_BYTES))

    def image_bytes(self) -> int:
        """Return what saved images take."""
        if self.saved is None:
            return 0
        unsaved = sum(
            epsilon not in self.saved[job.surrogates.key, job.attack_key]
            for job in self.jobs
            for epsilon, _ in job.wanted
        )
        return unsaved * self.images * 4 * self.plan.dataset.test.images[0].numel()


def _together(times: Sequence[tuple[float | None, Basis]]) -> tuple[float | None, Basis]:
    """Sum up times; they are known as the least known of them is."""
    known = [seconds for seconds, _ in times if seconds is not None]
    if len(known) < len(times):
        return None, "unknown"
    return sum(known), "timed now" if any(basis == "timed now" for _, basis in times) else "measured"
