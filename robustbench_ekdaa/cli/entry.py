"""The way in and out: runs a command, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from ..errors import UsageError, WorkFailed
from .app import NAME, app


def main() -> None:
    """Run the command line; errors become one line and an exit code: 2 wrong usage, 1 the work failed."""
    debug = "--debug" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == 130:  # how some versions of typer say that Ctrl-C was pressed
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, typer.Abort):
        fail("stopped; everything finished before is kept. Run the same command again to go on.", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, (UsageError, WorkFailed)):
            fail(str(error), 2 if isinstance(error, UsageError) else 1)
        # What the command line's parser says; its classes live in click or in typer, depending on typer's version.
        if hasattr(error, "format_message"):
            fail(f"{error.format_message()} `{NAME} --help` shows what there is.", 2)
        fail(f"{type(error).__name__}: {error}. This is a fault of the tool; run again with --debug to see where.", 1)


def fail(message: str, code: int) -> None:
    """Print one line to standard error and leave."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
