"""A worker process: it reads jobs from the driver, runs one after another, and sends their results back.

Messages in both directions are pickled, each with its length before it, and use the process's first standard input and
output. What the user's code prints goes to standard error.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import threading
import traceback
from itertools import count
from queue import SimpleQueue
from typing import IO, Any

from ..errors import UsageError, WorkFailed
from ..memory import keep_freed_memory
from ..progress import Bar
from ..registrations import Registrations, register_again

LENGTH = struct.Struct("<Q")
# Whether this process is being prepared for its first job: it may run the user's script, which must not start work.
preparing = False


class Unguarded(BaseException):
    """The user's script started work while a worker ran it only for what it registers."""


def send(pipe: IO[bytes], message: bytes) -> None:
    """Send one message."""
    pipe.write(LENGTH.pack(len(message)) + message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes:
    """Wait for one message; raises EOFError when the other side is gone."""
    head = pipe.read(LENGTH.size)
    message = pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
    if len(head) < LENGTH.size or len(message) < LENGTH.unpack(head)[0]:
        raise EOFError
    return message


def meaning(message: bytes) -> Any:
    """Return what a message says; none comes from a file or another machine."""
    return pickle.loads(message)  # noqa: S301


def refuse_to_start_work() -> None:
    """Leave the user's script where it is about to start work, if this process runs it for what it registers."""
    if preparing:
        raise Unguarded


def main() -> None:
    """Work until the driver is gone."""
    import torch

    from .executor import Job, run_job

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming, driver = _take_over_the_standard_streams()
    torch.set_num_threads(1)
    keep_freed_memory()
    messages: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(incoming, messages), daemon=True).start()
    try:
        prepare(meaning(messages.get()))
    except BaseException as error:
        driver.tell("error", *sendable(error))
        return
    while True:
        message = messages.get()
        driver.tell("begun")
        try:
            job: Job[Any] = meaning(message)
            driver.tell("result", run_job(job, driver))
        except BaseException as error:
            driver.tell("error", *sendable(error))


def _take_over_the_standard_streams() -> tuple[IO[bytes], Driver]:
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return incoming, Driver(outgoing)


def _listen(incoming: IO[bytes], messages: SimpleQueue[bytes]) -> None:
    """Read messages while jobs run: a killed driver cannot stop its workers, so each of them has to notice it."""
    try:
        while True:
            messages.put(receive(incoming))
    finally:  # its end, or an error where the driver was killed before it had read all that was sent
        os._exit(1)


def prepare(registered: Registrations) -> None:
    """Register in this process what modules have registered in the driver."""
    global preparing
    preparing = True
    try:
        register_again(registered)
    except Unguarded:
        raise UsageError(
            f"{registered.place}: starts work whenever it is run, and worker processes run it too, as it registers "
            'things. Put what starts work under `if __name__ == "__main__":`, or take workers=1.'
        ) from None
    except (Exception, SystemExit) as error:
        raise WorkFailed(
            f"worker processes cannot import what registers things here ({type(error).__name__}: {error}). They never "
            "look for modules in the working folder: name its folder in $PYTHONPATH, install it, or take workers=1."
        ) from error
    finally:
        preparing = False


def sendable(error: BaseException) -> tuple[BaseException, str]:
    """Return an error as it can be sent, and where it came from."""
    if isinstance(error, SystemExit):
        error = WorkFailed(f"its code ends the program (SystemExit: {error.code})")
    where = "".join(traceback.format_exception(error))
    try:
        meaning(pickle.dumps(error))
    except Exception:  # somebody's own kind of error need not be one that can be pickled
        error = WorkFailed(f"{type(error).__name__}: {error}")
    return error, where


class Driver:
    """The driver as a worker sees it: a `Progress` that the driver shows."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe, self.lock, self.numbers = pipe, threading.Lock(), count()

    def tell(self, kind: str, *content: Any) -> None:
        """Send one message."""
        message = pickle.dumps((kind, *content))
        try:
            with self.lock:
                send(self.pipe, message)
        except ConnectionError:  # the driver is gone, and with it whoever wanted this work
            os._exit(1)

    def task(self, label: str, total: int) -> Bar:
        """Start a bar there."""
        number = next(self.numbers)
        self.tell("task", number, label, total)
        return _SentBar(self, number)

    def line(self, text: str) -> None:
        """Print a line there."""
        self.tell("line", text)


class _SentBar:
    def __init__(self, driver: Driver, number: int) -> None:
        self.driver, self.number = driver, number

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        self.driver.tell("advance", self.number, amount, note)
