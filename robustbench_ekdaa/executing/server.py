"""A process that has imported what workers need and forks one whenever it is asked: PyTorch is imported once.

It is started anew, not forked from the driver: a fork of a process that has used torch's threads can hang. This one
never computes. Forking a process with so many libraries is known to work on Linux alone; see `CAN_FORK`.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.spawn import get_executable
from typing import IO, NoReturn

from ..search_path import named_in_full, without_working_folder

CAN_FORK = sys.platform == "linux"
# The search path comes first of all: modules imported before that would be looked for in the working folder.
START = "import sys; sys.path[:] = sys.argv[1:]; from robustbench_ekdaa.executing.{0} import {1}; {1}()"
# Jobs are made of these. By name, as the rooms of this package import only what lies below them.
PRELOADED = ("torch.optim", "robustbench_ekdaa.scoring.jobs", "robustbench_ekdaa.scoring.imported")
MESSAGE = 8192  # bytes; the longest is a folder's name
NOT_A_SETTING = {"PYTEST_CURRENT_TEST"}  # a variable that changes all the time and decides nothing
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process with threads cannot be forked safely


def start_process(
    module: str, function: str, *, stdin: int, stdout: int, **environment: str
) -> subprocess.Popen[bytes]:
    """Start a new Python process that runs a function of this room; it looks for no module in the working folder."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return subprocess.Popen(
        [get_executable(), *flags, "-c", START.format(module, function), *without_working_folder(sys.path)],
        stdin=stdin,
        stdout=stdout,
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join(named_in_full(os.environ.get("PYTHONPATH", ""))),
            "PYTHONSAFEPATH": "1",  # for whatever it starts itself, from Python 3.11 on
        },
        start_new_session=True,  # so that Ctrl-C reaches the driver alone, which decides what it ends
    )


class ServerGone(Exception):
    """The server has ended, so nothing can be asked of it."""


class Server:
    """The driver's side of a server. It ends by itself when the driver does, as then its standard input ends."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.lock = threading.Lock()
        with theirs:
            self.process = start_process(
                "server", "serve", stdin=theirs.fileno(), stdout=subprocess.DEVNULL, **ONE_THREAD
            )

    def fork(self) -> ForkedProcess:
        """Return a new worker process; raises ServerGone."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                pid = int(self.ask(f"fork {os.getcwd()}", theirs.fileno(), 2))
        except BaseException:
            ours.close()
            raise
        return ForkedProcess(self, pid, ours)

    def ask(self, request: str, *descriptors: int) -> str:
        """Return the answer to a request; raises ServerGone."""
        with self.lock:
            try:
                socket.send_fds(self.control, [os.fsencode(request)], descriptors)
                answer = self.control.recv(MESSAGE)
            except OSError:
                answer = b""
            except BaseException:  # the next one who asks must not get this answer
                self.control.close()
                raise
        if not answer:
            raise ServerGone
        return answer.decode()

    def stop(self) -> None:
        """End it; workers that it has forked go on."""
        self.control.close()
        self.process.kill()
        self.process.wait()


class ForkedProcess:
    """A worker process that a server has forked, as `subprocess.Popen` would give one.

    Attributes:
        pid: its number.
        stdin: what is written here, it reads.
        stdout: what it writes can be read here.
    """

    def __init__(self, server: Server, pid: int, channel: socket.socket) -> None:
        self.server, self.pid = server, pid
        self._code: int | None = None
        with channel:
            self.stdin: IO[bytes] = channel.makefile("wb")
            self.stdout: IO[bytes] = channel.makefile("rb")

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._ask("poll")

    def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        return self._ask("wait") or 0

    def kill(self) -> None:
        """End it now."""
        self._ask("kill")

    def _ask(self, what: str) -> int | None:
        if self._code is None:
            try:
                answer = self.server.ask(f"{what} {self.pid}")
                self._code = None if answer == "runs" else int(answer)
            except ServerGone:  # nobody can be asked how the worker ends
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
                self._code = -signal.SIGKILL
        return self._code


_servers: dict[object, Server] = {}
_lock = threading.Lock()


def server() -> Server:
    """Return this process's server, started if there is none with the present search path and environment."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_A_SETTING}
    settings = tuple(sys.path), tuple(sorted(environment.items())), os.getpid()
    with _lock:
        found = _servers.get(settings)
        if found is None or found.process.poll() is not None:
            for other in _servers.values():
                other.control.close()  # it ends, and its workers do not
            _servers.clear()
            found = _servers[settings] = Server()
        return found


def serve() -> NoReturn:
    """Fork a worker for every request, and say how those that were forked have ended, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is not looked at again stays shared with the workers
    codes: dict[str, str] = {}  # of workers that have ended
    try:
        while True:
            request, descriptors, *_ = socket.recv_fds(control, MESSAGE, 2)
            what, _, about = os.fsdecode(request).partition(" ")
            if what == "fork":
                about = str(_fork(about, descriptors, control))
                codes.pop(about, None)
                answer = about
            elif what:
                if about not in codes and (code := _ending(what, int(about))) is not None:
                    codes[about] = code
                answer = codes.get(about, "runs")
            else:
                break
            control.send(answer.encode())
    except OSError:  # the driver is gone, in the middle of a question
        pass
    os._exit(0)


def _fork(folder: str, descriptors: list[int], control: socket.socket) -> int:
    channel, errors = descriptors
    pid = os.fork()
    if pid == 0:
        os.setsid()
        control.close()
        for source, target in ((channel, 0), (channel, 1), (errors, 2)):
            os.dup2(source, target)
    for descriptor in descriptors:
        os.close(descriptor)
    if pid == 0:
        _work(folder)
    return pid


def _work(folder: str) -> NoReturn:
    from .worker import main

    code = 1
    try:
        os.chdir(folder)
        main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _ending(what: str, pid: int) -> str | None:
    """Return the exit code of a worker that was not known to have ended; None if it still runs."""
    if what == "kill":
        os.kill(pid, signal.SIGKILL)  # it was not waited for, so no other process has its number
    ended, status = os.waitpid(pid, os.WNOHANG if what == "poll" else 0)
    return str(os.waitstatus_to_exitcode(status)) if ended else None
