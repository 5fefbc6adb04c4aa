"""How long work tells its watcher how far it is: one small protocol, silent or drawn with rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Task(Protocol):
    """One bar."""

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        """Move the bar by ``amount`` units and, if given, replace the note beside it."""


class Progress(Protocol):
    """Something that can show bars and lines."""

    def task(self, label: str, total: int) -> Task:
        """Start a bar of ``total`` units."""

    def line(self, text: str) -> None:
        """Print one line that stays."""


class _SilentTask:
    def advance(self, amount: int = 1, note: str | None = None) -> None:
        pass


class Silent:
    """Shows nothing; the default of the Python API."""

    def task(self, label: str, total: int) -> Task:
        """Return a bar that shows nothing."""
        return _SilentTask()

    def line(self, text: str) -> None:
        """Print nothing."""


@contextmanager
def rich_progress(console: Console) -> Iterator[Progress]:
    """Draw bars on ``console`` with rich: label, bar, done of total, time left, note; finished bars disappear."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichBars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichBars(*columns, console=console, transient=True) as bars:

        class Bar:
            def __init__(self, label: str, total: int) -> None:
                self.identity = bars.add_task(label, total=total, note="")

            def advance(self, amount: int = 1, note: str | None = None) -> None:
                if note is None:
                    bars.update(self.identity, advance=amount)
                else:
                    bars.update(self.identity, advance=amount, note=note)
                if bars.tasks and bars._tasks[self.identity].finished:
                    bars.update(self.identity, visible=False)

        class Drawn:
            def task(self, label: str, total: int) -> Task:
                return Bar(label, total)

            def line(self, text: str) -> None:
                bars.console.print(text, markup=False, highlight=False)

        yield Drawn()
