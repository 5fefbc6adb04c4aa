"""The driver of a sweep: plan, train, predict on clean images, craft and score, store; only what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..arguments import whole
from ..cards import RegisteredCard, SweepSpec, Workspace
from ..data import Dataset, shared_dataset
from ..errors import UsageError, shown
from ..executing.executor import Executor, executor
from ..executing.order import work_off
from ..executing.ray_cluster import RayCluster
from ..executing.worker import refuse_to_start_work
from ..learning import ModelJob, check_model
from ..progress import Progress, Silent
from ..storing.keys import OutcomeKey
from ..storing.store import Store, writing
from ..zoo import Zoo
from .at_work import telling
from .driver import Sweeping, WorkDone, apart
from .jobs import PredictClean
from .plan import ImageSet, plan_sweep
from .taking import find_models, take_models
from .trainings import trained_models

MOST_WORKERS = 1_000


def choose_device(device: str | torch.device, workers: int | RayCluster | None = 1) -> str:
    """Turn "auto" into "cuda" where there is one, else "cpu"; raises UsageError for a device that cannot be used.

    What a Ray cluster has need not be here: its jobs take "cpu", or "cuda" where they are given GPUs.
    """
    if isinstance(workers, RayCluster):
        if device == "auto":
            return "cuda" if workers.gpus_per_job else "cpu"
        if device not in ("cpu", "cuda"):
            raise UsageError(f"device {shown(device)}: jobs on a Ray cluster are on cpu or cuda; Ray says on which GPU")
        return str(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if not isinstance(device, (str, torch.device)):
            raise TypeError("its name must be a text")
        float(torch.ones(1, device=device).sum())  # torch knows devices that hold no numbers
    except Exception as error:  # torch says in many ways that a device is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"device {shown(device)} cannot be used here ({reason}). Use cpu or auto.") from None
    return str(device)


def check_models(
    jobs: Iterable[ModelJob], dataset: Dataset, run: Path, *, device: str, workers: int | RayCluster | None
) -> None:
    """Raise UsageError for whatever is wrong with a model, before anything is computed and the run folder is made."""
    here = "cpu" if isinstance(workers, RayCluster) else device
    for job in jobs:
        if isinstance(job.card, RegisteredCard) and workers != 1:
            raise UsageError(f"{job.card.name}: was registered in this process, and no other has it. Take workers=1.")
        check_model(job, dataset, run, here)


def check_workers(workers: int | RayCluster | None) -> int | RayCluster | None:
    """Return the number of workers, None for as many as fit; raises UsageError for what is no number of them."""
    refuse_to_start_work()
    if isinstance(workers, RayCluster):
        workers.check()
        return workers
    return None if workers is None else whole("workers", workers, least=1, most=MOST_WORKERS)


def run_sweep(
    spec: SweepSpec,
    run: Path | str,
    *,
    workspace: Workspace | None = None,
    device: str = "auto",
    workers: int | RayCluster | None = 1,
    progress: Progress | None = None,
    command: str | None = None,
    zoo: Zoo | None = None,
    retry_failed: bool = False,
) -> WorkDone:
    """Do what is missing of a sweep and store it; doing it again when nothing is missing makes no model call.

    Args:
        spec: what to train, attack and score.
        run: the run folder.
        workspace: where the cards are (default: the current folder and the package's own).
        device: "auto", "cpu", "cuda", ...
        workers: jobs run side by side in so many processes, 1: in this one, None: one per core on a CPU; or the
            `RayCluster` that they run on.
        progress: gets lines and bars.
        command: the command that asked for it, kept for reports.
        zoo: where models that the run lacks are taken from; what it does not hold is trained.
        retry_failed: whether models that failed before are trained anew; otherwise they count as failed.

    Raises:
        UsageError: before anything is computed, for whatever in the request is wrong.
        WorkFailed: when the run folder cannot be written; all that was stored stays.
    """
    workspace, progress, device = workspace or Workspace(), progress or Silent(), choose_device(device, workers)
    workers = check_workers(workers)
    plans = [plan_sweep(spec, workspace, shared_dataset(name), device) for name in spec.datasets]
    for plan in plans:
        check_models(plan.models, plan.dataset, Path(run), device=device, workers=workers)
    found = [one for plan in plans for one in find_models(zoo, plan.to_train, plan.dataset, Path(run), progress)]
    done = WorkDone()
    with at_work_on(run, progress, workers, device, command) as (store, runner, progress):
        take_models(found, store, progress)
        how = (store, device, progress, done, retry_failed)
        drivers = [Sweeping(plan, place, *how) for place, plan in enumerate(plans)]
        for some in apart(drivers):
            for driver in some:
                driver.begin(command)
            work_off([task for driver in some for task in driver.tasks()], runner)
        for driver in drivers:
            done.failed += driver.failures()
        store.keep_in_one_file()
    return done


@contextmanager
def at_work_on(
    run: Path | str, progress: Progress, workers: int | RayCluster | None, device: str, command: str | None = None
) -> Iterator[tuple[Store, Executor, Progress]]:
    """Hold a run folder to work on it: give its store, what runs jobs, and a progress that `status` can read too."""
    with (
        writing(run, progress) as store,
        telling(Path(run), progress, command) as told,
        executor(workers, told, device) as runner,
    ):
        yield store, runner, told


def predict_clean(
    jobs: Sequence[ModelJob], images: ImageSet, store: Store, runner: Executor, *, device: str, batch_size: int
) -> None:
    """Pass the clean images through models once; also through surrogates, as the transfer rate needs it."""
    trained = trained_models(store)
    work = [PredictClean(job, images.indices, trained, device, batch_size) for job in jobs]
    for position, predictions in runner.run(work):
        store.add_outcomes(images.key, {OutcomeKey.clean(jobs[position].key): predictions})
