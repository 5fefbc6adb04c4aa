"""The package's errors, each one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, time

from .text import one_line

NO_MEMORY = (  # what PyTorch, its kernels and the system say
    *("allocate memory", "out of memory", "std::bad_alloc", "bad allocation", "can't start new thread"),
    "could not create a primitive",
)


class UsageError(Exception):
    """The request cannot be carried out as written: a wrong name, card, option or file (exit code 2)."""


class WorkFailed(Exception):
    """The request was fine but the work failed: a diverged training, a full disk (exit code 1)."""


class TrainingDiverged(WorkFailed):
    """A training loss or parameter stopped being finite."""

    def __init__(self, model: str, seed: int, epoch: int) -> None:
        super().__init__(
            f"{model} (seed {seed}) diverged in epoch {epoch}: the loss is not finite. "
            "Lower training.learning_rate in its card."
        )
        self.epoch = epoch


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put a place, such as card and field, before the message of a `UsageError`."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error.__cause__


def told(error: BaseException) -> str:
    """Return an exception of other code as one line: its type and its message, shortened."""
    try:
        text = one_line(error)
    except Exception:  # its own __str__ fails
        text = ""
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that there was not enough memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if (earlier := error.__cause__ or error.__context__) is not None and lacks_memory(earlier):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in NO_MEMORY)


def shown(value: object, width: int = 80) -> str:
    """Return a value as one printable line for an error message.

    Args:
        value: any object.
        width: the most letters; a longer text is shortened in its middle.

    """
    try:
        text = value.isoformat() if isinstance(value, (date, time)) else repr(value)
    except Exception:  # an integer with more digits than Python writes, or an error in the value's __repr__
        text = f"something of type {type(value).__name__}"
    if len(text) > width:
        text = f"{text[: width // 2]}...{text[3 - width // 2 :]}"
    return one_line(text)


def unknown_name(kind: str, name: object, known: Iterable[str], listing: str | None = None) -> UsageError:
    """Return the error for an unknown name, with the known names that are most like it.

    Args:
        kind: what is named, such as ``"attack"``.
        name: the unknown name.
        known: all known names.
        listing: the command that lists them, if there is one.

    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) if isinstance(name, str) else []
    if not near and isinstance(name, str):
        near = [candidate for candidate in names if name and (name in candidate or candidate in name)][:3]
    message = f"unknown {kind} {shown(name)}."
    if near:
        message += f" Did you mean {', '.join(near)}?"
    elif len(names) <= 12:
        message += f" Known: {', '.join(names) or 'none'}."
    if listing:
        message += f" `{listing}` shows all {len(names)}."
    return UsageError(message)
