"""The executor that is a Ray cluster: jobs and what they need go through Ray's object store, results come back.

Nodes need Ray, Python and this package's dependencies, of the driver's versions, and no disk in common with it; the
package itself is sent along. Ray sends Python objects by pickle, so a cluster must be as trusted as one's own machine.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from ..arguments import real
from ..errors import UsageError, WorkFailed, shown, told
from ..files import Stamp, stamp, tidy
from ..memory import in_words
from ..progress import Progress
from .executor import Job, PartlyDone, Result, label, usable_cores
from .local import Here
from .luggage import Luggage, Portable, load_unchanged
from .parcels import Answer, Parcel, as_arrays, carry_out, parcel_for, unpack
from .workers import InWorker, deaf_to_ctrl_c

PACKAGE = Path(__file__).parent.parent
# What Ray reads when it is imported: it reports nothing to its makers, and prints no messages of its own. What `ray job
# submit` was given to run with is for the driver alone.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
}
TRIES = 3  # how often a job is begun at most
CONNECT_SECONDS = 5
# A head speaks gRPC, which is HTTP/2: it answers a client's first words with a frame of its settings.
SETTINGS = b"\x04"
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
WAIT_SECONDS = 1.0  # after so long the number of nodes is looked at again


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A Ray cluster as the place where jobs run; give it where a number of workers is asked for.

    Args:
        address: HOST:PORT of its head; None: the cluster that ``$RAY_ADDRESS`` names or that runs on this machine; if
            there is none, one is started on this machine's cores for as long as the work takes.
        cpus_per_job: cores that a job occupies, above 0; it computes on one thread all the same.
        gpus_per_job: GPUs that a job occupies, 0.25 for four jobs side by side on one; None: 1 for jobs on "cuda", and
            none for others.

    Raises:
        UsageError: for numbers and addresses that cannot be.

    >>> RayCluster(address="10.0.0.1:6379", gpus_per_job=0.5).gpus("cuda")
    0.5
    """

    address: str | None = None
    cpus_per_job: float = 1.0
    gpus_per_job: float | None = None

    def __post_init__(self) -> None:
        if self.address is not None and (not isinstance(self.address, str) or _host_and_port(self.address) is None):
            raise UsageError(f"ray address: must be HOST:PORT, such as 10.0.0.1:6379 (got {shown(self.address)})")
        object.__setattr__(self, "cpus_per_job", _amount("cpus_per_job", self.cpus_per_job))
        if self.gpus_per_job is not None:
            object.__setattr__(self, "gpus_per_job", _amount("gpus_per_job", self.gpus_per_job))

    def check(self) -> None:
        """Raise UsageError where Ray is not installed, or no head of a cluster answers at the address."""
        if importlib.util.find_spec("ray") is None:
            raise UsageError("the executor ray needs Ray, which is not installed. pip install 'robustbench-ekdaa[ray]'")
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        place = _host_and_port(address)
        if place is None:
            return
        problem = _what_is_wrong_with(place)
        if problem is not None:
            raise UsageError(
                f"ray address {address}: {problem}. Start the cluster's head with `ray start --head`; it prints its "
                "address, whose port is 6379 if none was chosen."
            )

    def gpus(self, device: str) -> float:
        """Return how many GPUs a job on this kind of device occupies."""
        return (1.0 if device.startswith("cuda") else 0.0) if self.gpus_per_job is None else self.gpus_per_job


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() and 0 < int(port) < 65_536 else None


def _what_is_wrong_with(place: tuple[str, int]) -> str | None:
    """Say why no head can be there. Ray itself would try for minutes, and tell what it tries."""
    try:
        with socket.create_connection(place, CONNECT_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return None
            connection.sendall(HTTP_2)
            with connection.makefile("rb") as answer:
                return None if answer.read(9)[3:4] == SETTINGS else "what answers there is no Ray cluster's head"
    except (OSError, UnicodeError) as error:
        return f"nobody answers there ({getattr(error, 'strerror', None) or error})"


def _amount(what: str, value: object) -> float:
    number = real(value)
    if number is None or not 0 < number <= 1_000:
        raise UsageError(f"{what}: must be a number above 0, and 1000 at most (got {shown(value)})")
    return float(number)


@contextmanager
def on_the_cluster(cluster: RayCluster, progress: Progress, device: str) -> Iterator[JobsOnRay]:
    """Give an executor whose jobs run on a Ray cluster; a cluster that was started for it ends with it.

    Raises:
        UsageError: when the cluster cannot be used.
    """
    ray = _ray()
    connected = not ray.is_initialized()
    if not connected:  # whoever connected this process to Ray before has said to which cluster
        yield _announced(ray, cluster, progress, device)
        return
    with _ended_tidily() as listen:
        try:
            _connect(ray, cluster)
            listen()
            yield _announced(ray, cluster, progress, device)
        finally:
            with deaf_to_ctrl_c():
                ray.shutdown()
                tidy(_room())  # what the jobs that were stopped now have left on this machine


def _announced(ray: Any, cluster: RayCluster, progress: Progress, device: str) -> JobsOnRay:
    crew = JobsOnRay(ray, cluster, progress, device)
    crew.announce()
    return crew


def _ray() -> Any:
    """Import Ray such that it reports nothing to its makers and prints nothing."""
    os.environ.update(QUIET)
    import ray

    return ray


def _connect(ray: Any, cluster: RayCluster) -> None:
    cluster.check()
    # With an empty working folder of their own, workers do not look for modules in this process's.
    with tempfile.TemporaryDirectory() as nothing:
        means: dict[str, Any] = {
            "runtime_env": {"py_modules": [str(PACKAGE)], "working_dir": nothing},
            "logging_level": logging.CRITICAL,
            "log_to_driver": False,
        }
        try:
            try:
                ray.init(address=cluster.address or "auto", **means)
            except ConnectionError:
                if cluster.address is not None or os.environ.get("RAY_ADDRESS"):
                    raise
                ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, **means)
        except Exception as error:  # Ray raises errors of many kinds
            place = "ray" if cluster.address is None else f"ray address {cluster.address}"
            raise UsageError(f"{place}: the cluster cannot be used ({told(error)})") from None


@contextmanager
def _ended_tidily() -> Iterator[Callable[[], object]]:
    """Let SIGTERM end this process as an error does, so that the cluster is left; who has a handler keeps it.

    It gives a function to be called once Ray is connected, as Ray puts a handler of its own there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before, codes = signal.getsignal(signal.SIGTERM), list[int]()

    def end(number: int, frame: FrameType | None) -> None:
        codes.append(128 + number)
        sys.exit(codes[0])

    try:
        yield partial(signal.signal, signal.SIGTERM, end if before == signal.SIG_DFL else before)
    except SystemExit as error:
        raise SystemExit(codes[0] if codes else error.code) from None  # Ray puts another code in its place
    finally:
        signal.signal(signal.SIGTERM, before)


def _on_a_node(parcel: Parcel) -> Answer:
    """Do a job in one of Ray's worker processes."""
    import ray

    torch.set_num_threads(1)
    return carry_out(parcel, ray.get, _room())


def _room() -> Path:
    """Return where jobs have their private folders; what is left of killed ones there, the next job removes."""
    return Path(tempfile.gettempdir())


class JobsOnRay:
    """An `Executor` whose jobs are tasks of Ray.

    A job whose worker or node goes away is done again, `TRIES` times in all. At most twice as many jobs as the cluster
    can run side by side are handed to it at a time, so that results do not pile up; new nodes get some at once.
    """

    def __init__(self, ray: Any, cluster: RayCluster, progress: Progress, device: str) -> None:
        self.ray, self.progress = ray, progress
        self.needs = {"CPU": cluster.cpus_per_job, "GPU": cluster.gpus(device)}
        means = {"num_cpus": self.needs["CPU"], "num_gpus": self.needs["GPU"], "max_retries": 0}
        self.on_a_node = ray.remote(_on_a_node).options(**means)
        self.shelf = ObjectShelf(ray)
        self.other_versions: set[str] = set()
        self.seen_slots = (-WAIT_SECONDS, 0)

    def announce(self) -> None:
        """Say what the cluster has, and what a job takes of it."""
        nodes, there = len(_alive(self.ray)), self.ray.cluster_resources()
        self.progress.line(
            f"Ray: {_counted(nodes, 'node')} with {_counted(there.get('CPU', 0), 'CPU')}, "
            f"{_counted(there.get('GPU', 0), 'GPU')} and {in_words(there.get('object_store_memory', 0))} of object "
            f"store; a job takes {_counted(self.needs['CPU'], 'CPU')} and {_counted(self.needs['GPU'], 'GPU')}"
        )
        if self.slots == 0:
            self.progress.line("warning: no node has room for a job; it waits for one that has")

    @property
    def slots(self) -> int:
        """How many jobs the cluster can run at a time; it is asked once a second at most."""
        when, number = self.seen_slots
        if time.monotonic() - when >= WAIT_SECONDS:
            nodes = [node["Resources"] for node in _alive(self.ray)]
            wanted = {kind: some for kind, some in self.needs.items() if some}
            number = sum(min(int(has.get(kind, 0) / some) for kind, some in wanted.items()) for has in nodes)
            self.seen_slots = time.monotonic(), number
        return number

    def run(self, jobs: Iterable[Job[Result] | None]) -> Iterator[tuple[int, Result]]:
        """Yield (position of the job, its result), in order of completion; see `Executor`."""
        given, positions, tasks = iter(jobs), count(), _Tasks(self.ray)
        try:
            while True:
                while len(tasks) < max(2, 2 * self.slots) and (job := next(given, None)) is not None:
                    luggage = job.luggage if isinstance(job, Portable) else None
                    if luggage is None:
                        position = next(positions)
                        yield from ((position, result) for _, result in Here(self.progress).run([job]))
                    else:
                        self._begin(tasks, _Task(next(positions), job, luggage))
                if not tasks:
                    return
                for task, answer in tasks.finished(WAIT_SECONDS):
                    if isinstance(answer, Answer):
                        yield from self._results(task, answer)
                    else:
                        self._refuse_to_repeat(task, answer)
                        self._begin(tasks, replace(task, tries=task.tries + 1))
        except Exception:
            yield from self._rest(tasks)
            raise
        finally:
            tasks.cancel()

    def _begin(self, tasks: _Tasks, task: _Task) -> None:
        files = {place: self.shelf.file(path) for place, path in task.luggage.files.items()}
        parcel = parcel_for(task.job, task.luggage, self.shelf.dataset(*task.luggage.dataset), files)
        tasks.add(task, self.on_a_node.remote(parcel))

    def _results(self, task: _Task, answer: Answer) -> Iterator[tuple[int, Any]]:
        """Keep what a job has done, yield its result, and raise its error if it had one."""
        unpack(answer, task.luggage)
        answer.told.repeat(self.progress)
        self._compare_versions(answer)
        if answer.failure is None:
            yield task.position, answer.result
            return
        error, where = answer.failure
        if isinstance(error, PartlyDone):
            yield task.position, error.result
        raise error from InWorker(where)

    def _rest(self, tasks: _Tasks) -> Iterator[tuple[int, Any]]:
        """Yield the results that are there already."""
        for task, answer in tasks.finished(0):
            with suppress(Exception):  # another error was first
                if isinstance(answer, Answer):
                    yield from self._results(task, answer)

    def _refuse_to_repeat(self, task: _Task, error: Exception) -> None:
        """Raise WorkFailed if it would not help to do a lost job again, or was tried often enough."""
        exceptions = self.ray.exceptions
        cause = getattr(error, "cause", None) if isinstance(error, exceptions.RayTaskError) else error
        lasting = (exceptions.RuntimeEnvSetupError, exceptions.TaskUnschedulableError)
        if not isinstance(cause, exceptions.RayError) or isinstance(cause, lasting):
            raise WorkFailed(
                f"the nodes of the Ray cluster cannot run jobs ({told(cause or error)}). Install robustbench-ekdaa on "
                "each, with the versions of Python, Ray and PyTorch that are here; see docs/scale.md."
            )
        how = _how(exceptions, cause)
        if task.tries >= TRIES:
            raise WorkFailed(
                f"{label(task.job)} was begun {task.tries} times on the Ray cluster and lost each time (the last time "
                f"{how}); everything finished before is kept. Run the same command again, with more --cpus-per-job if "
                "the nodes lack memory."
            )
        self.progress.line(f"{label(task.job)} was lost ({how}); it is done again")

    def _compare_versions(self, answer: Answer) -> None:
        if answer.torch != torch.__version__ and answer.torch not in self.other_versions:
            self.other_versions.add(answer.torch)
            self.progress.line(
                f"warning: a node has PyTorch {answer.torch}, and this machine {torch.__version__}: results may differ "
                "in float rounding"
            )


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'s' * (number != 1)}"


def _alive(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _how(exceptions: Any, error: BaseException) -> str:
    """Say in plain words how a job was lost."""
    words = {
        exceptions.OutOfMemoryError: "its node had no memory left",
        exceptions.NodeDiedError: "its node went away",
        exceptions.WorkerCrashedError: "its worker process died",
        exceptions.ObjectLostError: "its node went away with what it needed or had found",
    }
    return next((words[kind] for kind in words if isinstance(error, kind)), told(error))


@dataclass(frozen=True)
class _Task:
    """A job that the cluster has, and which try that is."""

    position: int
    job: Any
    luggage: Luggage
    tries: int = 1


class _Tasks:
    """The jobs that the cluster has at present."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.by_handle: dict[Any, _Task] = {}

    def __len__(self) -> int:
        return len(self.by_handle)

    def add(self, task: _Task, handle: Any) -> None:
        self.by_handle[handle] = task

    def finished(self, seconds: float) -> Iterator[tuple[_Task, Any]]:
        """Wait for jobs to finish, so long at most; yield each with its answer, or with the error of its loss."""
        handles = list(self.by_handle)
        number = 1 if seconds else len(handles)
        for handle in self.ray.wait(handles, num_returns=number, timeout=seconds)[0] if handles else []:
            try:
                answer = self.ray.get(handle)
            except self.ray.exceptions.RayError as error:
                answer = error
            yield self.by_handle.pop(handle), answer

    def cancel(self) -> None:
        for handle in self.by_handle:
            with suppress(Exception):  # the cluster may be gone
                self.ray.cancel(handle, force=True)


class ObjectShelf:
    """What jobs need, put into the object store once; what does not fit into that, Ray keeps on the disk."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.files: dict[tuple[Path, Stamp | None], Any] = {}
        self.datasets: dict[str, Any] = {}

    def file(self, path: Path) -> Any:
        """Return the handle of a file's bytes."""
        key = path, stamp(path)
        if key not in self.files:
            self.files[key] = self.ray.put(np.fromfile(path, np.uint8))
        return self.files[key]

    def dataset(self, source: str, fingerprint: str) -> Any:
        """Return the handle of a data set's arrays."""
        if fingerprint not in self.datasets:
            self.datasets[fingerprint] = self.ray.put(as_arrays(load_unchanged(source, fingerprint)))
        return self.datasets[fingerprint]
