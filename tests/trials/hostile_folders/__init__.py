"""Folders that hold what nobody should have put there, and what commands may make of them.

Each function puts one such thing into a workplace. Commands that do not need it must work (`fine`); those that do must
say in one line what is wrong and where (`told`, with the word that the line must hold); all others may do either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tool import How
from ..workplace import Workplace

EXPORT = "export run --out rows.csv"
HUGE = 10**11  # bytes of a sparse file, more than any memory here


@dataclass(frozen=True)
class Hostile:
    """One hostile thing.

    Attributes:
        prepare: puts it into a workplace that holds two cards and, if wanted, the finished run ``run``.
        fine: commands that must work all the same.
        told: commands that cannot, each with a word of the line that says why.
        either: commands that may do either.
        begun: whether the workplace holds a finished run.
        nobody: whether the commands are run by a user without rights.
    """

    prepare: Callable[[Workplace], None]
    fine: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    either: tuple[str, ...] = ()
    begun: bool = False
    nobody: bool = False

    @property
    def commands(self) -> list[str]:
        return [*self.fine, *(command for command, _ in self.told), *self.either]

    @property
    def how(self) -> How:
        return How(nobody=self.nobody)


ALL: dict[str, Hostile] = {}


def hostile(**expected) -> Callable:
    """Register what a function prepares, under its name."""

    def register(prepare: Callable[[Workplace], None]) -> Callable[[Workplace], None]:
        ALL[prepare.__name__] = Hostile(prepare, **expected)
        return prepare

    return register


def sparse(path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


from . import cards, data, outputs, runs  # noqa: E402, F401 (each registers its own)
