"""Where jobs run: in this process, side by side in worker processes of this machine, or on a Ray cluster.

An executor is small: jobs go in, results come out, and the driver stores them.

On a CPU every job computes on one thread, and the cores are used by running jobs side by side. So no bit
of a result depends on the number of cores or workers, and small networks do not wait for each other's threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from ..computing import ordinary_torch
from ..errors import WorkFailed
from ..memory import available_memory
from ..progress import Progress
from ..stopping import go_on

if TYPE_CHECKING:
    from .ray_cluster import RayCluster

# PyTorch, the larger built-in data sets as float32, and a batch of maps; seen at work on CIFAR-10: 1.3 GiB.
MEMORY_OF_A_WORKER = 2 * 1024**3
Result = TypeVar("Result")
Job = Callable[[Progress], Result]


class PartlyDone(WorkFailed):
    """A job failed, but what it had done by then is worth keeping: `result`, as the job would have returned it."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message, result)
        self.result = result

    def __str__(self) -> str:
        return str(self.args[0])


class Executor(Protocol):
    """Something that runs jobs and hands back each result as soon as it is there."""

    @property
    def slots(self) -> int:
        """How many jobs it can run at a time; that may change while it works."""

    def run(self, jobs: Iterable[Job[Result] | None]) -> Iterator[tuple[int, Result]]:
        """Yield (position of the job among the jobs, its result), in order of completion.

        A job's error stops the others, and is raised once all results that were finished by then are handed over.

        Args:
            jobs: they are taken as soon as they are given, begun in this order, and asked for in the caller's thread.
                None says that there is no more for now, as more depends on results: it is asked again once the
                caller has taken one. It must not be the answer when nothing is left to take.

        """


@contextmanager
def executor(workers: int | RayCluster | None, progress: Progress, device: str = "cpu") -> Iterator[Executor]:
    """Give an executor with so many workers, or one on a Ray cluster.

    One worker is this process itself: a debugger sees the jobs there, but code in them that ends the process ends it.
    None stands for worker processes, one per core on a CPU and one on a GPU.

    Jobs for worker processes must be picklable. What a script or a module registers by a decorator is known in them
    too: they import that module, or run that script once more, as multiprocessing does.
    """
    with one_thread(), _chosen(workers, progress, device) as chosen:
        yield chosen


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, as jobs do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _chosen(workers: int | RayCluster | None, progress: Progress, device: str) -> Iterator[Executor]:
    if workers == 1:
        from .local import Here

        yield Here(progress)
    elif workers is None or isinstance(workers, int):
        from .workers import WorkerPool

        crew = WorkerPool(workers or workers_for(device), progress)
        try:
            yield crew
        finally:
            crew.stop()
    else:
        from .ray_cluster import on_the_cluster

        with on_the_cluster(workers, progress, device) as cluster:
            yield cluster


def workers_for(device: str) -> int:
    """Return how many worker processes fit a device and the memory that is free, where nobody says how many."""
    if device != "cpu":
        return 1
    memory = available_memory()
    return usable_cores() if memory is None else max(1, min(usable_cores(), memory // MEMORY_OF_A_WORKER))


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_job(job: Job[Result], progress: Progress) -> Result:
    """Run one job as all are run, in whatever process: somebody's code in it must not end the program."""
    go_on()
    try:
        with ordinary_torch(gradients=True):
            return job(progress)
    except SystemExit as error:
        raise WorkFailed(f"{label(job)}: its code ends the program (SystemExit: {error.code})") from error


def label(job: Job[Any]) -> str:
    """Return what a job is called in messages."""
    return str(getattr(job, "label", "a job"))
