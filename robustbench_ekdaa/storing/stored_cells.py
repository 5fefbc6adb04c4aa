"""Blocks of outcomes that are read from a run folder when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .blocks import Row, answers_of, classes_of
from .cells import Answers, Classes
from .results_file import clear_store_errors, opened_to_read
from .sealed import SealedTables


@dataclass
class StoredSource:
    """A source of blocks that lie in a run folder; see `cells.BlockSource`.

    Attributes:
        run: the folder.
        rows: where the blocks lie.
        labels: the images' true classes, (N,).
        classes_there: how many classes there are, K.
    """

    run: Path
    rows: Sequence[Row]
    labels: NDArray[np.int64]
    classes_there: int
    _held: list[tuple[Answers, Classes]] = field(default_factory=list)

    def hold(self, tables: SealedTables) -> None:
        """Read everything now: what it lies in will be gone."""
        for row in self.rows:
            found = answers_of(tables, row, len(self.labels))
            self._held.append((found, classes_of(tables, row, self.labels, self.classes_there)))

    def answers(self, places: Sequence[int]) -> Iterator[Answers]:
        """Yield what is known without classes."""
        if not places:
            return
        with self._opened() as tables:
            for place in places:
                row = self.rows[place]
                found = answers_of(tables, row, len(self.labels)) if tables else self._held[place][0]
                some = slice(None) if row.shown is None else list(row.shown)
                yield Answers(found.right[some], found.agreeing[some])

    def classes(self, places: Sequence[int]) -> Iterator[Classes]:
        """Yield the classes predicted, (T, N)."""
        if not places:
            return
        with self._opened() as tables:
            for place in places:
                row = self.rows[place]
                found = classes_of(tables, row, self.labels, self.classes_there) if tables else self._held[place][1]
                yield found if row.shown is None else found[list(row.shown)]

    @contextmanager
    def _opened(self) -> Iterator[SealedTables | None]:
        """Open the folder for as long as it is read, so that nobody who writes has to wait; None if all is held."""
        if self._held:
            yield None
            return
        with clear_store_errors(self.run / "results.sqlite"), opened_to_read(self.run) as tables:
            yield tables
