"""What the command at work in a run folder has in hand, written beside the results for `status` to read.

Whether a command is at work is told by the lock on the folder alone, which the system takes from a process that has
ended, however it ended; so no clock is asked, and a file that a killed command left says nothing.
"""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import UsageError, WorkFailed
from ..files import whole_file
from ..progress import Bar, Progress
from ..storing.results_file import is_written_to

SECONDS = 1.0  # from one writing of the file to the next


class JobInHand(BaseModel):
    """A job that was begun: its label, how much of it is done, of how much in all, and what it said last."""

    label: str
    done: int
    total: int
    note: str | None = None


class AtWork(BaseModel):
    """The command at work in a run folder.

    Attributes:
        host: the machine it runs on; "" if it has not said so yet.
        process: its number there; 0 likewise.
        command: what was typed, if that is known.
        jobs: what it has in hand.
    """

    host: str = ""
    process: int = 0
    command: str | None = None
    jobs: list[JobInHand] = []


def at_work(run: Path) -> AtWork | None:
    """Return what is at work in a run folder; None if nothing is."""
    if not is_written_to(run):
        return None
    try:
        return AtWork.model_validate_json(_path(run).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, ValidationError, RecursionError):  # it has only begun, or cannot write
        return AtWork()


@contextmanager
def telling(run: Path, progress: Progress, command: str | None = None) -> Iterator[Progress]:
    """Give a progress that shows what another shows, and meanwhile keep the file up to date, about once a second.

    Where the file cannot be written, nothing else is disturbed. To be used by whoever holds the folder's lock.
    """
    teller, over = _Teller(progress), threading.Event()

    def write() -> None:
        before = None
        while not over.wait(0.0 if before is None else SECONDS):
            now = teller.jobs()
            if now == before:
                continue
            before = now
            facts = {"host": platform.node(), "process": os.getpid(), "command": command, "jobs": now}
            with suppress(OSError, UsageError, WorkFailed), whole_file(_path(run)) as draft:
                draft.write_text(json.dumps(facts), encoding="utf-8")

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield teller
    finally:
        over.set()
        writer.join()
        with suppress(OSError):
            _path(run).unlink(missing_ok=True)


def _path(run: Path) -> Path:
    return run / ".at_work.json"


@dataclass(eq=False)
class _TellingBar:
    label: str
    total: int
    shown: Bar
    done: int = 0
    note: str | None = None

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        self.done += amount
        self.note = self.note if note is None else note
        self.shown.advance(amount, note)


class _Teller:
    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: list[_TellingBar] = []
        self.lock = threading.Lock()

    def task(self, label: str, total: int) -> Bar:
        bar = _TellingBar(label, total, self.progress.task(label, total))
        with self.lock:
            self.bars = [one for one in (*self.bars, bar) if one.done < one.total]
        return bar

    def line(self, text: str) -> None:
        self.progress.line(text)

    def jobs(self) -> list[dict[str, Any]]:
        """Return what is begun and not done."""
        with self.lock:
            bars = list(self.bars)
        return [
            {"label": bar.label, "done": bar.done, "total": bar.total, "note": bar.note}
            for bar in bars
            if bar.done < bar.total
        ]
