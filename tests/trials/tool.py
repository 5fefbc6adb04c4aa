"""The command line as a process of its own, started in milliseconds: forked from one that has imported everything.

What runs in it is `cli.main` with a real command line, in a folder, an environment and limits of its own; it can be
killed, traced, interrupted and run twice at once like any other process.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import shlex
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

NAME = "robustbench-ekdaa"
PATIENCE = 60  # seconds; an undisturbed command takes less than one
NOBODY = 65534
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([f"{__package__}.preloaded"])


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is None when it had to be stopped after `PATIENCE` seconds."""

    command: str
    code: int | None
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The line that says what went wrong; empty if nothing did."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error: ", "failed: "))]
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class How:
    """How a command is run.

    Attributes:
        environment: variables beside those of the test run.
        largest_file: bytes; writing beyond that fails, as on a full disk.
        memory: bytes beyond what its process has to begin with; asking for more fails.
        nobody: as a user without rights, which only root can become.
        stopped: wait before anything is done until `Running.go_on`.
    """

    environment: dict[str, str] = field(default_factory=dict)
    largest_file: int | None = None
    memory: int | None = None
    nobody: bool = False
    stopped: bool = False


USUAL = How()


class Running:
    """A command that was started; what it prints goes into pipes, which no limit on files concerns."""

    def __init__(self, folder: Path, arguments: list[str], how: How) -> None:
        self.command = shlex.join(
            word if len(word) < 80 else f"{word[:20]}... ({len(word)} long)" for word in arguments
        )
        self.printed, ends = zip(*(SERVER.Pipe(duplex=False) for _ in range(2)), strict=True)
        for end in ends:
            fcntl.fcntl(end.fileno(), getattr(fcntl, "F_SETPIPE_SZ", fcntl.F_GETFD), 2**20)
        self.process = SERVER.Process(target=_command, args=(os.fspath(folder), arguments, ends, how))
        self.process.start()
        self.pid: int = self.process.pid
        for end in ends:
            end.close()

    def kill(self) -> None:
        self.process.kill()

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGINT for Ctrl-C; nothing happens if it has ended."""
        with suppress(ProcessLookupError):  # it ends just now
            if self.is_alive():
                os.kill(self.pid, number)

    def go_on(self, state: str = "T") -> None:
        """Wait until it has stopped itself, see `How.stopped`, and let it go on; a traced one stops as "t"."""
        self.until(state)
        os.kill(self.pid, signal.SIGCONT)

    def until(self, state: str) -> None:
        """Wait until the system says that it is in this state."""
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
            time.sleep(0.001)

    def wait(self) -> Ended:
        self.process.join(PATIENCE)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
        self.process.close()
        return Ended(self.command, code, *(_read(pipe) for pipe in self.printed))


def _read(pipe: Connection) -> str:
    """Return what is in a pipe now; a process that outlives the command may hold its other end."""
    os.set_blocking(pipe.fileno(), False)
    parts = []
    try:
        while part := os.read(pipe.fileno(), 2**16):
            parts.append(part)
    except BlockingIOError:
        pass
    pipe.close()
    return b"".join(parts).decode(errors="replace")


class Tool:
    """Runs commands in one folder, whose ``data`` is their data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, command: str | list[str], how: How = USUAL) -> Running:
        """Start a command, given as its arguments or as one text without spaces in the arguments."""
        arguments = command.split() if isinstance(command, str) else command
        environment = {"ROBUSTBENCH_EKDAA_DATA": str(self.folder / "data"), **how.environment}
        return Running(self.folder, arguments, replace(how, environment=environment))

    def __call__(self, command: str | list[str], how: How = USUAL) -> Ended:
        return self.start(command, how).wait()


def _command(folder: str, arguments: list[str], pipes: tuple[Connection, Connection], how: How) -> None:
    """What the forked process does."""
    for number, pipe in enumerate(pipes, 1):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    os.chdir(folder)
    os.environ.update(how.environment)
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if how.largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (how.largest_file, how.largest_file))
    if how.memory is not None:
        limit = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize() + how.memory
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if how.nobody:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if how.stopped:
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.argv = [NAME, *arguments]
    from robustbench_ekdaa.cli import main

    main()
