"""Where jobs run: in this process, or side by side in worker processes of this machine.

On a CPU every job computes on one thread, and the cores are used by running jobs side by side. So a result does not
depend, not in a bit, on how many cores or workers there were, and small networks do not wait for each other's threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol, TypeVar

import torch

from ..errors import WorkFailed
from ..progress import Progress, Task

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

    def run(self, jobs: Sequence[Job[Result]]) -> Iterator[tuple[int, Result]]:
        """Yield (position of the job, its result), in order of completion.

        A job's error stops the others, and is raised once all results that were finished by then are handed over.
        """


@contextmanager
def executor(workers: int, progress: Progress) -> Iterator[Executor]:
    """Give an executor with so many workers; one worker is this process itself.

    Jobs for worker processes must be picklable, and what they name (rules, data sets) must be found there by name or
    file: what a script registers by a decorator is known in this process only.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if workers == 1:
            yield _Here(progress)
        else:
            pool = _Workers(workers, progress)
            try:
                yield pool
            finally:
                pool.stop()
    finally:
        torch.set_num_threads(threads)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Here:
    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def run(self, jobs: Sequence[Job[Result]]) -> Iterator[tuple[int, Result]]:
        for position, job in enumerate(jobs):
            try:
                result = job(self.progress)
            except PartlyDone as error:
                yield position, error.result
                raise
            yield position, result


class _Workers:
    def __init__(self, workers: int, progress: Progress) -> None:
        self.progress = progress
        # Spawned, not forked: a fork of a process that has used torch's threads can hang.
        context = multiprocessing.get_context("spawn")
        self.messages: Any = context.Queue()
        self.pool = ProcessPoolExecutor(workers, context, _start_worker, (self.messages,))
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def run(self, jobs: Sequence[Job[Result]]) -> Iterator[tuple[int, Result]]:
        with _deaf_to_ctrl_c():
            futures = {self.pool.submit(_run, job): position for position, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                failure = future.exception()
                if failure is not None:
                    yield from _finished(futures)
                    raise failure
                yield futures.pop(future), future.result()
        except BrokenProcessPool:
            raise WorkFailed(
                "a worker process died, perhaps for lack of memory; everything finished before is kept. "
                "Run the same command again with fewer --workers."
            ) from None
        finally:
            for future in futures:
                future.cancel()

    def _listen(self) -> None:
        bars: dict[Any, Task] = {}
        while (message := self.messages.get()) is not None:
            kind, *content = message
            if kind == "line":
                self.progress.line(*content)
            elif kind == "task":
                bars[content[0]] = self.progress.task(*content[1:])
            else:
                bars[content[0]].advance(*content[1:])

    def stop(self) -> None:
        """End the workers, also in the middle of a job: what they had not handed over is done again next time."""
        workers = list(self.pool._processes.values())  # the pool forgets them as it shuts down
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in workers:
            process.terminate()
        self.messages.put(None)
        self.listener.join()


def _finished(futures: dict[Future[Result], int]) -> Iterator[tuple[int, Result]]:
    """Cancel what has not begun, and yield what is there of the rest."""
    for future in futures:
        future.cancel()
    for future, position in futures.items():
        if future.cancelled() or not future.done():
            continue
        failure = future.exception()
        if failure is None:
            yield position, future.result()
        elif isinstance(failure, PartlyDone):
            yield position, failure.result


_MESSAGES: Any = None
_NUMBERS = count()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first instant on: the driver decides what it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _SentProgress:
    """In a worker: sends what the watcher should see to the driver."""

    def task(self, label: str, total: int) -> Task:
        identity = (os.getpid(), next(_NUMBERS))
        _MESSAGES.put(("task", identity, label, total))
        return _SentTask(identity)

    def line(self, text: str) -> None:
        _MESSAGES.put(("line", text))


class _SentTask:
    def __init__(self, identity: tuple[int, int]) -> None:
        self.identity = identity

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        _MESSAGES.put(("advance", self.identity, amount, note))


def _start_worker(messages: Any) -> None:
    global _MESSAGES
    _MESSAGES = messages
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_the_driver, daemon=True).start()


def _leave_with_the_driver() -> None:
    """A killed driver cannot stop its workers, so each of them watches for that."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(job: Job[Result]) -> Result:
    return job(_SentProgress())
