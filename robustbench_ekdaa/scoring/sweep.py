"""The driver of a sweep: plan, train, predict on clean images, craft and score, store; only what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..cards import SweepSpec, Workspace
from ..data import Dataset, load_dataset
from ..errors import TrainingDiverged, UsageError, WorkFailed
from ..learning import TrainingJob, load_network, train
from ..learning.training import check_job, checkpoint_path
from ..networks import Network
from ..progress import Progress, Silent
from .jobs import SHOWN_IMAGES, craft_and_score, predict_all
from .outcomes import AttackRecord, ModelRecord
from .plan import CLEAN, SweepPlan, plan_sweep
from .store import Store


def choose_device(device: str) -> str:
    """Turn "auto" into "cuda" where there is one, else "cpu"; raises UsageError for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {device!r} cannot be used here ({reason}). Use --device cpu or auto.") from None
    return device


@dataclass
class Summary:
    """What a sweep did.

    Attributes:
        trained: models trained now.
        crafted: crafting jobs done now.
        failed: models that could not be trained, now or before.

    """

    trained: int = 0
    crafted: int = 0
    failed: list[ModelRecord] = field(default_factory=list)


def train_models(
    jobs: Sequence[TrainingJob],
    dataset: Dataset,
    store: Store,
    *,
    device: str,
    progress: Progress,
    on_trained: Callable[[ModelRecord], None] = lambda record: None,
) -> list[ModelRecord]:
    """Train what the run does not hold yet; a model that fails is recorded and does not stop the others.

    Training that diverged would diverge again, so it is not repeated; any other failure is tried anew.

    Returns:
        the records of all jobs, in order.

    """
    known = store.models()
    for job in jobs:
        if not (job.key in known and known[job.key].error) and not checkpoint_path(store.run, job.key).exists():
            check_job(job, dataset)
    records = []
    for job in jobs:
        before = known.get(job.key)
        settled = before and (
            before.error if before.metrics.get("diverged") else checkpoint_path(store.run, job.key).exists()
        )
        if before and settled and before.title == job.card.label:
            records.append(before)
            continue
        record = _train_one(job, dataset, store.run, device, progress)
        store.add_model(record)
        records.append(record)
        on_trained(record)
    return records


def _train_one(job: TrainingJob, dataset: Dataset, run: Path, device: str, progress: Progress) -> ModelRecord:
    about = (job.key, job.card.name, job.card.label, job.card.rule_name, job.dataset, job.seed)
    try:
        facts = train(job, dataset, run, device=device, progress=progress)
    except TrainingDiverged as error:
        progress.line(f"failed: {error}")
        return ModelRecord(*about, status="failed", error=str(error), metrics={"diverged": True, "epoch": error.epoch})
    except (UsageError, WorkFailed):
        raise
    except Exception as error:
        # A plugged-in rule may raise anything; the other models' results must not be lost to it.
        message = f"{job.card.name} (seed {job.seed}) failed in training: {type(error).__name__}: {error}"
        progress.line(f"failed: {message}")
        return ModelRecord(*about, status="failed", error=message)
    return ModelRecord(
        *about, metrics={key: value for key, value in facts.items() if key not in ("identity", "layers")}
    )


def run_sweep(
    spec: SweepSpec,
    run: Path | str,
    *,
    workspace: Workspace | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    command: str = "",
) -> Summary:
    """Do what is missing of a sweep and store it; doing it again when nothing is missing makes no model call.

    Args:
        spec: what to train, attack and score.
        run: the run folder.
        workspace: where the cards are (default: the current folder and the package's own).
        device: "auto", "cpu", "cuda", ...
        progress: gets lines and bars.
        command: the command that asked for it, kept for reports.

    Raises:
        UsageError: before anything is computed, for whatever in the request is wrong.
        WorkFailed: when the run folder cannot be written; all that was stored stays.

    """
    workspace, progress, device = workspace or Workspace(), progress or Silent(), choose_device(device)
    plans = [plan_sweep(spec, workspace, load_dataset(name)) for name in spec.datasets]
    summary = Summary()
    with Store(Path(run), create=True) as store:
        for plan in plans:
            _run_plan(plan, store, device, progress, command, summary)
    return summary


def _run_plan(plan: SweepPlan, store: Store, device: str, progress: Progress, command: str, summary: Summary) -> None:
    stored = store.stored(plan.images.key)
    announce(plan, store, stored, progress)
    _record_sweep(plan, store, command)

    def count(record: ModelRecord) -> None:
        summary.trained += record.status == "trained"

    records = train_models(plan.models, plan.dataset, store, device=device, progress=progress, on_trained=count)
    failed = {record.key for record in records if record.status == "failed"}
    summary.failed += [record for record in records if record.status == "failed"]
    _predict_clean(plan, store, stored, failed, device, progress)
    jobs = plan.craft_jobs(stored, failed)
    networks: dict[str, Network] = {}
    images, labels = plan.dataset.test.images[plan.images.indices], plan.dataset.test.labels[plan.images.indices]
    overall = progress.task(f"attacks on {plan.dataset.name}", len(jobs)) if jobs else None
    for job in jobs:
        _load(
            networks, [job.surrogate, *(target for _, targets in job.wanted for target in targets)], plan, store, device
        )
        crafted = craft_and_score(
            job,
            networks,
            images,
            labels,
            plan.images.indices.tolist(),
            seed=plan.spec.seed,
            device=device,
            batch_size=plan.spec.batch_size,
            progress=progress,
        )
        # One surrogate's pictures are enough to show an attack.
        shown = job.surrogate is None or job.surrogate.key == plan.surrogates[0].key
        store.add_outcomes(
            plan.images.key,
            [
                ((job.surrogate_key, job.attack_key, epsilon, target), predictions)
                for epsilon, result in crafted.items()
                for target, predictions in result.predictions.items()
            ],
            [
                (
                    (job.surrogate_key, job.attack_key, epsilon),
                    result.facts(len(images)),
                    result.shown if shown else None,
                )
                for epsilon, result in crafted.items()
            ],
        )
        summary.crafted += 1
        if overall:
            overall.advance()


def announce(plan: SweepPlan, store: Store, stored: set[tuple[str, str, float, str]], progress: Progress) -> None:
    """Say what is stored already and what is to be done."""
    untrained = sum(not checkpoint_path(store.run, job.key).exists() for job in plan.models)
    failed = {key for key, record in store.models().items() if record.metrics.get("diverged")}
    jobs, everything = plan.craft_jobs(stored, failed), plan.craft_jobs(set(), failed)
    cells = sum(len(targets) for job in jobs for _, targets in job.wanted)
    total = sum(len(targets) for job in everything for _, targets in job.wanted)
    progress.line(
        f"{plan.dataset.title}: {len(plan.images.indices)} test images, {len(plan.models)} models "
        f"({len(plan.models) - untrained} trained already), {total} cells ({total - cells} stored already); "
        f"to do: {untrained} trainings, {len(jobs)} craftings, {cells} cells"
    )


def _record_sweep(plan: SweepPlan, store: Store, command: str) -> None:
    dataset, indices = plan.dataset, plan.images.indices
    store.add_sweep(
        (dataset.fingerprint, dataset.name, dataset.title, dataset.classes),
        (
            plan.images.key,
            indices.numpy(),
            dataset.test.labels[indices].numpy(),
            dataset.test.images[indices[:SHOWN_IMAGES]].numpy(),
        ),
        [
            AttackRecord(key, card.name, card.label, card.norm, card.model_dump(mode="json"))
            for key, card in plan.attacks
        ],
        plan.spec.model_dump(mode="json"),
        plan.roles(),
        command,
    )


def _load(
    networks: dict[str, Network], jobs: Sequence[TrainingJob | None], plan: SweepPlan, store: Store, device: str
) -> None:
    for job in jobs:
        if job is not None and job.key not in networks:
            networks[job.key] = load_network(job, plan.dataset, store.run, device)


def _predict_clean(
    plan: SweepPlan,
    store: Store,
    stored: set[tuple[str, str, float, str]],
    failed: set[str],
    device: str,
    progress: Progress,
) -> None:
    """Pass the clean images through every model once; surrogates too, since the transfer rate asks what fooled them."""
    missing = [job for job in plan.models if (*CLEAN, job.key) not in stored and job.key not in failed]
    if not missing:
        return
    images = plan.dataset.test.images[plan.images.indices]
    bar = progress.task("clean images", len(missing))
    outcomes = []
    for job in missing:
        network = load_network(job, plan.dataset, store.run, device)
        predictions = predict_all(network, images, device, plan.spec.batch_size)
        outcomes.append(((*CLEAN, job.key), predictions.astype(np.int64)))
        bar.advance()
    store.add_outcomes(plan.images.key, outcomes)
