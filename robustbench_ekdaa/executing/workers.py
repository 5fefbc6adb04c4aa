"""The driver's side of worker processes: starting them, handing them jobs, noticing when one ends, and ending them.

Python's own pools start them with the working folder on the search path, where any file may lie under any name; they
run the user's script once more in each; and they cannot say in which job a worker died.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count, takewhile
from queue import Empty, SimpleQueue
from typing import Any

from ..errors import WorkFailed
from ..progress import Bar, Progress
from ..registrations import registrations
from .executor import Job, PartlyDone, Result, label
from .server import CAN_FORK, ForkedProcess, ServerGone, server, start_process
from .worker import meaning, receive, send


class WorkerPool:
    """An `Executor` whose jobs run in so many processes, each started when there is a job for it."""

    def __init__(self, slots: int, progress: Progress) -> None:
        self.slots, self.progress = slots, progress
        self.lock = threading.Lock()
        self.processes: list[WorkerProcess] = []
        self.idle: list[WorkerProcess] = []
        self.stopped = False

    def run(self, jobs: Iterable[Job[Result] | None]) -> Iterator[tuple[int, Result]]:
        """Yield (position of the job, its result), in order of completion; see `Executor`."""
        todo, done = SimpleQueue[Any](), SimpleQueue[tuple[int, Any, BaseException | None]]()
        given, positions, threads, in_hand = iter(jobs), count(), 0, 0
        try:
            while True:
                for job in takewhile(lambda job: job is not None, given):
                    todo.put((next(positions), job))
                    in_hand += 1
                    if threads < min(self.slots, in_hand):
                        threading.Thread(target=self._work, args=(todo, done), daemon=True).start()
                        threads += 1
                if not in_hand:
                    return
                position, result, failure = done.get()
                in_hand -= 1
                if failure is None:
                    yield position, result
                    continue
                _drain(todo)
                yield from _kept(position, failure)
                while not done.empty():
                    position, result, another = done.get()
                    yield from [(position, result)] if another is None else _kept(position, another)
                raise failure
        finally:
            _drain(todo)
            for _ in range(threads):
                todo.put(None)

    def _work(self, todo: SimpleQueue[Any], done: SimpleQueue[Any]) -> None:
        """Do job after job, in one process at a time, until there is None; runs in a thread of its own."""
        while (given := todo.get()) is not None:
            position, job = given
            try:
                done.put((position, self._do(job), None))
            except BaseException as failure:
                done.put((position, None, failure))

    def _do(self, job: Job[Result]) -> Result:
        try:
            return self._do_in(self._idle_process(), job)
        except NeverBegun:  # it was killed while it had nothing to do
            return self._do_in(self._new_process(), job)

    def _do_in(self, process: WorkerProcess, job: Job[Result]) -> Result:
        try:
            return process.do(job, self.progress, self.lock)
        finally:
            if process.is_alive():
                self.idle.append(process)

    def _idle_process(self) -> WorkerProcess:
        try:
            return self.idle.pop()
        except IndexError:
            return self._new_process()

    def _new_process(self) -> WorkerProcess:
        if not self.stopped:
            process = WorkerProcess()  # takes a while: progress is shown and Ctrl-C is heard meanwhile
            with self.lock:
                if not self.stopped:
                    self.processes.append(process)
                    return process
            process.kill()
        raise WorkFailed("the worker processes were stopped")

    def stop(self) -> None:
        """End the workers, also in the middle of a job: what they had not handed over is done again next time."""
        with deaf_to_ctrl_c(), self.lock:
            self.stopped = True
            for process in self.processes:
                process.kill()


def _drain(queue: SimpleQueue[Any]) -> None:
    """Take out what nobody has begun with."""
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass


def _kept(position: int, failure: BaseException) -> list[tuple[int, Any]]:
    return [(position, failure.result)] if isinstance(failure, PartlyDone) else []


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Tidy up undisturbed, however often somebody presses Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class NeverBegun(WorkFailed):
    """A worker process was gone before it could begin with a job."""


class InWorker(Exception):
    """Where an error came from in a worker process, as text."""


def _new_process() -> subprocess.Popen[bytes] | ForkedProcess:
    """Return a process that runs a worker: forked from a server, or where that cannot be done, started anew."""
    if not CAN_FORK:
        return start_process("worker", "main", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for _ in range(2):  # somebody may have killed it while it had nothing to do
        with suppress(ServerGone):
            return server().fork()
    raise WorkFailed(
        "worker processes cannot be started: the process that starts them ends, perhaps for lack of memory. "
        "Run the same command again with --workers 1."
    )


class WorkerProcess:
    """One worker process. It ends by itself when this one does, as then its standard input ends."""

    def __init__(self) -> None:
        self.process = _new_process()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.incoming, self.outgoing = self.process.stdin, self.process.stdout
        self.prepared = False

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.wait()

    def do(self, job: Job[Result], progress: Progress, lock: threading.Lock) -> Result:
        """Let it do a job and return the result; meanwhile show its progress, one message of all workers at a time.

        Raises:
            NeverBegun: when the process was gone before.
            WorkFailed: when it ends in the middle, or cannot even start.

        """
        bars: dict[int, Bar] = {}
        begun = False
        try:
            self._give(job)
            while True:
                kind, *content = meaning(receive(self.outgoing))
                begun = True
                if kind == "result":
                    result: Result = content[0]
                    return result
                if kind == "error":
                    raise content[0] from InWorker(content[1])
                with lock:
                    if kind == "task":
                        bars[content[0]] = progress.task(*content[1:])
                    elif kind == "advance":
                        bars[content[0]].advance(*content[1:])
                    elif kind == "line":
                        progress.line(*content)
        except (EOFError, ConnectionError):
            raise self._death(job, begun=begun) from None

    def _give(self, job: Job[Any]) -> None:
        message = pickle.dumps(job)  # first, as it may not be possible
        if not self.prepared:
            send(self.incoming, pickle.dumps(registrations()))
            self.prepared = True
        send(self.incoming, message)

    def _death(self, job: Job[Any], *, begun: bool) -> WorkFailed:
        """Say how it ended, and in which job."""
        code = self.process.wait()
        advice = "Run the same command again"
        if code == -9:
            how, advice = "was killed, perhaps for lack of memory", f"{advice} with fewer --workers"
        elif code < 0:
            how = f"was stopped by the signal {signal.Signals(-code).name}"
        else:
            how = f"ended by itself with exit code {code}, as after os._exit"
        if not begun:
            return NeverBegun(f"a worker process died before it could begin: it {how}. {advice}.")
        place = f"a worker process died in the middle of {label(job)}"
        return WorkFailed(f"{place}: it {how}; everything finished before is kept. {advice}.")
