"""Tables whose rows are sealed: each carries a digest of all it holds, and a ledger knows how many there are.

A changed byte or a lost row, through a faulty disk or by hand, is noticed when the row is next read. Nothing is read
only to be checked, so that the cost does not grow with the store. The digests do not protect against forgery.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

Value = str | int | float | bytes | None
PYTHON_TYPES = {"TEXT": str, "INTEGER": int, "REAL": float, "BLOB": bytes}
LEDGER = "CREATE TABLE ledger (number INTEGER PRIMARY KEY, tallies TEXT, digest BLOB)"
_TALLIES = TypeAdapter(dict[str, tuple[int, int]])


class Damaged(ValueError):
    """What was read is not what was written."""


@dataclass(frozen=True)
class Table:
    """The layout of one table.

    Attributes:
        columns: each column's name and SQL type, in order; only a column with "NULL" at the end may lack a value.
        key: how many of the first columns tell rows apart; 0 for a table that only grows.
        part: how many of these tell parts of the table apart that are read by themselves.

    """

    columns: tuple[str, ...]
    key: int = 0
    part: int = 0

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.split()[0] for column in self.columns)

    @cached_property
    def kinds(self) -> tuple[tuple[type, ...], ...]:
        """The Python types that each column's values may have."""
        return tuple(
            (PYTHON_TYPES[column.split()[1]], *((type(None),) if column.endswith(" NULL") else ()))
            for column in self.columns
        )

    def sql(self, name: str) -> str:
        """Return the statement that makes the table: the columns, the row's number and its digest."""
        unique = f", UNIQUE ({', '.join(self.names[: self.key])})" if self.key else ""
        return f"CREATE TABLE {name} (number INTEGER PRIMARY KEY, {', '.join(self.columns)}, digest BLOB{unique})"

    def seal(self, name: str, number: int, values: Sequence[Value]) -> bytes:
        """Return the digest of a row; raises Damaged for a value of a wrong type."""
        for column, value, kinds in zip(self.names, values, self.kinds, strict=True):
            if type(value) not in kinds:
                raise Damaged(f"row {number} of {name} holds {type(value).__name__} as {column}")
        return _digest(name, number, values)

    def check(self, name: str, number: int, values: Sequence[Value], digest: Value) -> None:
        """Raise Damaged unless a row is as it was written."""
        if self.seal(name, number, values) != digest:
            raise Damaged(f"row {number} of {name} does not fit its digest")


@dataclass
class Tally:
    """How many rows there are, and the sum of a checksum of what tells them apart: a lost row changes both."""

    count: int = 0
    total: int = 0

    def change(self, number: int, key: tuple[Value, ...], by: int = 1) -> None:
        """Count one row more, or with `by` -1 one less."""
        self.count += by
        self.total = (self.total + by * zlib.crc32(ascii((number, *key)).encode())) % 2**64


class SealedTables:
    """The tables of one open database; see the module.

    Methods that read raise `Damaged`, and whatever SQLite raises.
    """

    def __init__(self, database: sqlite3.Connection, tables: dict[str, Table], prefix: str = "") -> None:
        self.database, self.tables, self._prefix = database, tables, prefix  # of the tables' names in SQL
        self.temporary = False  # whether what is read here is gone once it is closed
        self._tallies: dict[str, Tally] = {}

    @staticmethod
    def lay_out(database: sqlite3.Connection, tables: dict[str, Table]) -> None:
        """Make the tables, all empty, and their ledger."""
        for name, table in tables.items():
            database.execute(table.sql(name))
        database.execute(LEDGER)
        database.execute("INSERT INTO ledger VALUES (1, '{}', ?)", (_digest("ledger", 1, ("{}",)),))

    # -- reading -----------------------------------------------------------------------------------------------------

    def rows(self, name: str, *part: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table, or of a part of it, in the order in which they were written."""
        table, seen = self.tables[name], Tally()
        # The sign keeps SQLite from using an index: it would then sort the rows, with all that they hold.
        where = " AND ".join(f"+{column} = ?" for column in table.names[: len(part)])
        query = (
            f"SELECT number, {', '.join(table.names)}, digest FROM {self._prefix}{name} {where and f'WHERE {where}'}"
        )
        for number, *values, digest in self.database.execute(f"{query} ORDER BY number", part):
            table.check(name, number, values, digest)
            seen.change(number, tuple(values[: table.key]))
            yield tuple(values)
        self._expect(name, part, seen)

    def keys(self, name: str, *part: str) -> Iterator[tuple[Any, ...]]:
        """Yield what tells the rows of a table, or of a part of it, apart, without reading the rest of them."""
        table, seen = self.tables[name], Tally()
        where = " AND ".join(("TRUE", *(f"{column} = ?" for column in table.names[: len(part)])))
        query = f"SELECT number, {', '.join(table.names[: table.key])} FROM {self._prefix}{name} WHERE {where}"
        for number, *key in self.database.execute(f"{query} ORDER BY number", part):
            seen.change(number, tuple(key))
            yield tuple(key)
        self._expect(name, part, seen)

    def row(self, name: str, *key: Value) -> tuple[Any, ...] | None:
        """Return one row; None if it is not there."""
        found = self._find(name, key)
        return None if found is None else found[1]

    def matching(self, name: str, *start: Value) -> list[tuple[Any, ...]]:
        """Return what tells the rows apart whose key starts so, in their order; the ledger is not asked."""
        table = self.tables[name]
        where = " AND ".join(f"{column} = ?" for column in table.names[: len(start)])
        query = f"SELECT {', '.join(table.names[: table.key])} FROM {self._prefix}{name} WHERE {where}"
        return self.database.execute(query, start).fetchall()

    def count(self, name: str, *part: str) -> int:
        """Return how many rows a table or a part of it should have."""
        return self._read_ledger().get(" ".join((name, *part)), Tally()).count

    def _find(self, name: str, key: tuple[Value, ...]) -> tuple[int, tuple[Any, ...]] | None:
        table = self.tables[name]
        where = " AND ".join(f"{column} = ?" for column in table.names[: len(key)])
        query = f"SELECT number, {', '.join(table.names)}, digest FROM {self._prefix}{name} WHERE {where}"
        for number, *values, digest in self.database.execute(query, key):
            table.check(name, number, values, digest)
            return number, tuple(values)
        return None

    def _expect(self, name: str, part: tuple[str, ...], seen: Tally) -> None:
        wanted = Tally()
        for place, tally in self._read_ledger().items():
            if place.split()[: 1 + len(part)] == [name, *part]:
                wanted.count += tally.count
                wanted.total = (wanted.total + tally.total) % 2**64
        if seen.count != wanted.count:
            raise Damaged(f"{name} has {seen.count} rows where {wanted.count} were written")
        if seen.total != wanted.total:
            raise Damaged(f"{name} has other rows than were written")

    def _read_ledger(self) -> dict[str, Tally]:
        rows = self.database.execute(f"SELECT number, tallies, digest FROM {self._prefix}ledger").fetchall()
        if len(rows) != 1:
            raise Damaged(f"ledger has {len(rows)} rows where 1 was written")
        ((number, text, digest),) = rows
        if _digest("ledger", number, (text,)) != digest:
            raise Damaged("its ledger does not fit its digest")
        return {place: Tally(*tally) for place, tally in _TALLIES.validate_json(text).items()}

    # -- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write rows by `put`: all or none."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            with self.filling():
                yield
            self.database.execute("COMMIT")
        finally:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Keep the ledger while rows are written in somebody else's transaction."""
        self._tallies = self._read_ledger()
        yield
        text = json.dumps({place: (tally.count, tally.total) for place, tally in self._tallies.items()})
        self.database.execute("UPDATE ledger SET tallies = ?, digest = ?", (text, _digest("ledger", 1, (text,))))

    def put(self, name: str, *values: Value) -> None:
        """Write a row, within `transaction`; it becomes the newest, also where it takes another's place."""
        table = self.tables[name]
        key = values[: table.key]
        tally = self._tallies.setdefault(" ".join(map(str, (name, *values[: table.part]))), Tally())
        found = self._find(name, key) if key else None
        if found is not None:
            tally.change(found[0], key, -1)
        (number,) = self.database.execute(f"SELECT COALESCE(MAX(number), 0) + 1 FROM {name}").fetchone()
        marks = ", ".join("?" * (len(values) + 2))
        whole = (number, *values, table.seal(name, number, values))
        self.database.execute(f"INSERT OR REPLACE INTO {name} VALUES ({marks})", whole)
        tally.change(number, key)

    def remove(self, name: str, *key: Value) -> None:
        """Remove a row that is there, within `transaction`."""
        table = self.tables[name]
        found = self._find(name, key)
        if found is None:
            raise Damaged(f"{name} lacks a row")
        self.database.execute(f"DELETE FROM {name} WHERE number = ?", (found[0],))
        self._tallies[" ".join(map(str, (name, *key[: table.part])))].change(found[0], key, -1)


def _digest(table: str, number: int, values: Sequence[Value]) -> bytes:
    """Return the digest of a row: of its values, their types, its number and its table."""
    parts = (hashlib.sha256(value).digest() if isinstance(value, bytes) else value for value in values)
    return hashlib.sha256(ascii((table, number, *parts)).encode()).digest()[:16]
