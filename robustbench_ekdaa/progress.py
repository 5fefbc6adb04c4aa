"""Progress of long work: a small protocol, and classes that show nothing, bars (with rich) or lines.

All labels and lines are printed as plain text: they may hold markup and control characters without effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from .errors import UsageError, shown
from .text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars


class Bar(Protocol):
    """A progress bar."""

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        """Move the bar on.

        Args:
            amount: by how many units.
            note: a text to show beside the bar (default: the one that is there).

        """


class Progress(Protocol):
    """Something that can show bars and lines."""

    def task(self, label: str, total: int) -> Bar:
        """Start a bar and return it.

        Args:
            label: what it shows the progress of.
            total: its units.

        """

    def line(self, text: str) -> None:
        """Print one line that stays.

        Args:
            text: the line.

        """


class _SilentBar:
    def advance(self, amount: int = 1, note: str | None = None) -> None:
        pass


class Silent:
    """Shows nothing; the default of the Python API."""

    def task(self, label: str, total: int) -> Bar:
        """Return a bar that shows nothing."""
        return _SilentBar()

    def line(self, text: str) -> None:
        """Print nothing."""


def _tell(console: Console, text: str) -> None:
    """Print one line; if that fails, as on a full disk, the work goes on."""
    from rich.text import Text

    try:
        console.print(Text(one_line(text)), soft_wrap=True)
    except BrokenPipeError:
        raise  # the program that read our output has ended
    except OSError:
        pass


def a_progress(progress: Progress | None) -> Progress:
    """Return the progress given, or a silent one for None; raises UsageError for what has no `task` and `line`."""
    if progress is None:
        return Silent()
    if not callable(getattr(progress, "task", None)) or not callable(getattr(progress, "line", None)):
        raise UsageError(f"progress: must have the methods of a Progress, task and line (got {shown(progress)})")
    return progress


class _NotedBar:
    def __init__(self, label: str, total: int, console: Console) -> None:
        self.label, self.console = label, console
        self.left = total
        self.note: str | None = None

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        self.left -= amount
        self.note = self.note if note is None else note
        if self.left <= 0 < self.left + amount and self.note:
            _tell(self.console, f"{self.label}: {self.note}")


class _Lines:
    """For a log file or a pipe: no bars, but one line for each finished task that has a note."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def task(self, label: str, total: int) -> Bar:
        return _NotedBar(label, total, self.console)

    def line(self, text: str) -> None:
        _tell(self.console, text)


@contextmanager
def shown_progress(console: Console) -> Iterator[Progress]:
    """Draw bars on a terminal with rich: label, bar, done of total, time left, note; elsewhere print lines."""
    if not console.is_terminal:
        yield _Lines(console)
        return
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
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: RichBars) -> None:
        self.bars = bars

    def task(self, label: str, total: int) -> Bar:
        return _Bar(self.bars, label, total)

    def line(self, text: str) -> None:
        _tell(self.bars.console, text)


class _Bar:
    def __init__(self, bars: RichBars, label: str, total: int) -> None:
        self.bars, self.left = bars, total
        self.identity = bars.add_task(one_line(label), total=total, note="")

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        self.left -= amount
        if note is not None:
            self.bars.update(self.identity, note=one_line(note))
        self.bars.update(self.identity, advance=amount, visible=self.left > 0)
