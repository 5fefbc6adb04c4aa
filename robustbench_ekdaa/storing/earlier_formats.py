"""Stores of earlier formats, read as today's.

Format 1, of the first release, has no digests and no ledger; 1 to 3 hold outcomes target by target; 2 lacks probes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .blocks import WrittenBlocks
from .layout import TABLES
from .packing import (
    NAMES_FORM,
    ROLES_FORM,
    SHAPE_FORM,
    unpack_classes,
    unpack_images,
    unpack_indices,
    unpack_json,
)
from .sealed import Damaged, SealedTables, Table

EARLIER = (1, 2, 3)
FIRST = """
CREATE TABLE datasets (fingerprint TEXT PRIMARY KEY, name TEXT, title TEXT, classes TEXT);
CREATE TABLE image_sets (key TEXT PRIMARY KEY, fingerprint TEXT, indices BLOB, labels BLOB, shape TEXT, images BLOB);
CREATE TABLE models (key TEXT PRIMARY KEY, name TEXT, title TEXT, rule TEXT, dataset TEXT, seed INTEGER, status TEXT,
                     error TEXT, metrics TEXT);
CREATE TABLE attacks (key TEXT PRIMARY KEY, name TEXT, title TEXT, norm TEXT, card TEXT);
CREATE TABLE outcomes (image_set TEXT, surrogate TEXT, attack TEXT, epsilon REAL, target TEXT, predictions BLOB,
                       PRIMARY KEY (image_set, surrogate, attack, epsilon, target));
CREATE TABLE craftings (image_set TEXT, surrogate TEXT, attack TEXT, epsilon REAL, facts TEXT, images BLOB,
                        PRIMARY KEY (image_set, surrogate, attack, epsilon));
CREATE TABLE sweeps (number INTEGER PRIMARY KEY, fingerprint TEXT, image_set TEXT, spec TEXT, roles TEXT, command TEXT);
"""
_SECOND = {
    **{name: TABLES[name] for name in ("datasets", "image_sets", "models", "attacks")},
    "outcomes": Table(
        ("image_set TEXT", "surrogate TEXT", "attack TEXT", "epsilon REAL", "target TEXT", "predictions BLOB"),
        key=5,
        part=1,
    ),
    "craftings": Table(
        ("image_set TEXT", "surrogate TEXT", "attack TEXT", "epsilon REAL", "facts TEXT", "images BLOB NULL"),
        key=4,
        part=1,
    ),
    "sweeps": TABLES["sweeps"],
}
_LAID_OUT = {2: _SECOND, 3: _SECOND | {"probes": TABLES["probes"]}}
_ASIDE = "earlier_"


def lay_out_earlier(database: sqlite3.Connection, version: int) -> None:
    """Make the tables of an earlier format, all empty."""
    if version == 1:
        database.executescript(FIRST)
    else:
        SealedTables.lay_out(database, _LAID_OUT[version])


@contextmanager
def put_aside(database: sqlite3.Connection, version: int) -> Iterator[EarlierTables]:
    """Give a store's tables other names, so that today's can be laid out, and drop them at the end."""
    names = [*_LAID_OUT[max(version, 2)], *(() if version == 1 else ("ledger",))]
    for name in names:
        database.execute(f"ALTER TABLE {name} RENAME TO {_ASIDE}{name}")
    yield EarlierTables(database, version)
    for name in names:
        database.execute(f"DROP TABLE {_ASIDE}{name}")


@dataclass(frozen=True)
class EarlierTables:
    """The tables of an earlier format, put aside."""

    database: sqlite3.Connection
    version: int

    def copy_to(self, tables: SealedTables) -> None:
        """Write everything into tables of today; raises Damaged for what is not as it was written."""
        for name in _LAID_OUT[max(self.version, 2)]:
            if name != "outcomes":
                for row in self._rows(name):
                    # With what craftings were made was not written down.
                    tables.put(name, *((*row[:-1], "", row[-1]) if name == "craftings" else row))
        groups: dict[tuple[str, str, str, float], dict[str, bytes]] = {}
        for image_set, surrogate, attack, epsilon, target, predictions in self._rows("outcomes"):
            groups.setdefault((image_set, surrogate, attack, epsilon), {})[target] = predictions
        classes = {row[0]: len(unpack_json(NAMES_FORM, row[-1], "classes")) for row in self._rows("datasets")}
        images = {}
        for key, fingerprint, _, labels, *_ in self._rows("image_sets"):
            if fingerprint not in classes:
                raise Damaged("images are of data that are not there")
            truth = unpack_indices(labels, "labels")
            images[key] = WrittenBlocks(tables, key, truth, classes[fingerprint])
        for (image_set, surrogate, attack, epsilon), group in groups.items():
            if image_set not in images:
                raise Damaged("outcomes are on images that are not there")
            blocks = images[image_set]
            count, most = len(blocks.labels), blocks.classes_there
            predictions = {target: unpack_classes(blob, count, most) for target, blob in group.items()}
            blocks.put((surrogate, attack, epsilon), predictions)

    def _rows(self, name: str) -> Iterator[tuple[Any, ...]]:
        """Yield a table's rows, in the order in which they were written."""
        if self.version > 1:
            yield from SealedTables(self.database, _LAID_OUT[self.version], _ASIDE).rows(name)
            return
        known = [column for column in _SECOND[name].names if (name, column) != ("models", "fingerprint")]
        rows = self.database.execute(f"SELECT {', '.join(known)} FROM {_ASIDE}{name} ORDER BY rowid")
        if name == "models":
            trained_on = self._trained_on()
            yield from ((*row, trained_on.get(row[0], "")) for row in rows)
        elif name == "craftings":
            yield from self._with_images(rows)
        else:
            yield from map(tuple, rows)  # a cursor must not be closed after its database

    def _with_images(self, craftings: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Yield the first release's craftings; raises Damaged for what are no images."""
        sizes = {
            key: (len(unpack_indices(labels, "labels")), unpack_json(SHAPE_FORM, shape, "shape"))
            for key, _, _, labels, shape, _ in self._rows("image_sets")
        }
        for row in craftings:
            if row[0] not in sizes:
                raise Damaged("craftings are on images that are not there")
            if row[-1] is not None:
                unpack_images(row[-1], sizes[row[0]][1], sizes[row[0]][0])
            yield row

    def _trained_on(self) -> dict[str, str]:
        """Return the fingerprint of the data that the first release's models were trained on, as far as sweeps tell."""
        found = {}
        for fingerprint, _, _, text, _ in self._rows("sweeps"):
            roles = unpack_json(ROLES_FORM, text, "roles")
            found.update(dict.fromkeys((*roles.surrogates, *roles.targets), fingerprint))
        return found
