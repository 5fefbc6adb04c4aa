"""The entry point: sets up the process, runs a command, and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from .. import stopping
from ..errors import UsageError, WorkFailed, lacks_memory
from ..search_path import without_working_folder
from .app import PROGRAM, app
from .parsing import refuse_empty
from .printing import accept_all_text, show_traceback, show_warning, tell

STOPPED = "stopped; everything finished before is kept. Run the same command again to go on."
OUT_OF_MEMORY = (
    "there is not enough memory; everything finished before is kept. Close other programs, or take fewer --workers "
    "or a smaller --batch-size, and run the same command again."
)
MORE_MEMORY = "There was not enough memory: run the same command again with more, before anything else."
WRONG_PATH = {errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EACCES}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
NARROWEST_TERMINAL = 20  # columns; fewer in $COLUMNS are taken for a mistake


def main() -> None:
    """Run the command line; errors become one line and an exit code: 2 wrong usage, 1 the work failed."""
    set_up()
    with interruptible():
        code, message = run_command(debug="--debug" in sys.argv)
        if stopping.signals and code:  # whatever it says: C code may have put its own error in the place of Ctrl-C's
            code, message = 128 + stopping.signals[0], STOPPED
        if message:
            tell(f"error: {message}")
        drop_unwritten()
    sys.exit(code)


def set_up() -> None:
    """Set up this process and the processes it starts, so that they work in every environment."""
    accept_all_text()
    sys.path[:] = without_working_folder(sys.path)  # later imports do not look there
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) < NARROWEST_TERMINAL:
        del os.environ["COLUMNS"]
    show_all_warnings()


def show_all_warnings() -> None:
    """Show warnings instead of raising them, also in workers, so that no library's warning can end a long sweep."""
    warnings.showwarning = show_warning
    sys.warnoptions[:] = [option.replace("error", "default", 1) for option in sys.warnoptions]
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        os.environ["PYTHONWARNINGS"] = os.environ["PYTHONWARNINGS"].replace("error", "default")
    if any(action == "error" for action, *_ in warnings.filters):
        warnings.simplefilter("default")


def run_command(*, debug: bool) -> tuple[int, str | None]:
    """Run the command, and return its exit code and the message of an error, if there was one.

    Args:
        debug: raise an error instead, so that its traceback is shown.

    Raises:
        Exception: any error, with `debug`.
    """
    try:
        refuse_empty(sys.argv[1:], typer.main.get_command(app))
        code = app(standalone_mode=False)
        if code == 130:  # some versions of typer return this for Ctrl-C
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
        return (code if isinstance(code, int) else 0), None
    except (KeyboardInterrupt, typer.Abort):
        return 130, STOPPED
    except BrokenPipeError:  # the program that read our output has ended
        return 1, None
    except Exception as error:
        if debug:
            sys.excepthook = show_traceback
            raise
        return answer(error)


def answer(error: Exception) -> tuple[int, str]:
    """Return the exit code and the message of an error."""
    if isinstance(error, (UsageError, WorkFailed)):
        if lacks_memory(error):
            return 1, f"{str(error).rstrip('.')}. {MORE_MEMORY}"
        return (2 if isinstance(error, UsageError) else 1), str(error)
    # An error of the command line's parser, whose class is click's or typer's, depending on the version of typer.
    if hasattr(error, "format_message"):
        return 2, f"{error.format_message()} `{PROGRAM} --help` shows what there is."
    if lacks_memory(error):
        return 1, OUT_OF_MEMORY
    if isinstance(error, OSError) and error.filename is not None:
        return (2 if error.errno in WRONG_PATH else 1), f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in FULL:
        return 1, f"the output could not be written ({error.strerror}); everything finished before is kept"
    fault = "This is a fault of the tool; run again with --debug to see where."
    return 1, f"{type(error).__name__}: {error}. {fault}"


def drop_unwritten() -> None:
    """Drop output that could not be written: Python would try again when it ends, and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C or SIGTERM stop the command, and a second one end the process at once: stored results are whole.

    Signals that somebody else handles or ignores are left alone.
    """
    came = stopping.signals
    came.clear()
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    here = threading.current_thread() is threading.main_thread()
    before = {number: handler for number, handler in usual.items() if here and signal.getsignal(number) is handler}

    def stop(number: int, frame: FrameType | None) -> None:
        if came:
            os.write(2, f"error: {STOPPED}\n".encode())
            os._exit(128 + came[0])
        came.append(number)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        code = 128 + came[0] if came else None
        for number, handler in before.items():
            signal.signal(number, handler if code is None else lambda number, frame: os._exit(code))
        came.clear()
