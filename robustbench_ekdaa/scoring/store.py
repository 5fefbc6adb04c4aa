"""The results store of a run folder: one SQLite file, one transaction per job, no pickles.

Outcomes are kept per image (the class each target said, zlib-compressed uint16), so that every metric is computed
afterwards from the same facts.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cards import shown_path
from ..errors import UsageError, WorkFailed
from .outcomes import AttackRecord, Cell, Example, ModelRecord, Outcomes

APPLICATION = 0x52424B45  # "RBKE", in the header of every store
VERSION = 1
SCHEMA = """
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
Key = tuple[str, str, float, str]


def _pack(predictions: NDArray[np.int64]) -> bytes:
    return zlib.compress(predictions.astype("<u2").tobytes())


def _unpack(blob: bytes) -> NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(blob), dtype="<u2").astype(np.int64)


def _pack_images(images: NDArray[np.float32]) -> bytes:
    return zlib.compress(np.ascontiguousarray(images, dtype="<f4").tobytes())


def _unpack_images(blob: bytes, shape: Sequence[int]) -> NDArray[np.float32]:
    return np.frombuffer(zlib.decompress(blob), dtype="<f4").reshape(-1, *shape).astype(np.float32)


class Store:
    """A run folder's results. The driver of a sweep is its only writer."""

    def __init__(self, run: Path, *, create: bool = False) -> None:
        self.run = run
        self.path = run / "results.sqlite"
        if not create and not self.path.is_file():
            raise UsageError(
                f"{shown_path(run)}: no results here. Give the folder that `robustbench-ekdaa sweep --run` wrote."
            )
        try:
            if create:
                run.mkdir(parents=True, exist_ok=True)
            self._connect(create)
        except OSError as error:
            raise UsageError(
                f"{shown_path(run)}: cannot be used as a run folder ({error.strerror}). Choose another --run folder."
            ) from None

    def _connect(self, create: bool) -> None:
        new = not self.path.exists() or self.path.stat().st_size == 0
        try:
            address = self.path.resolve().as_uri()
            # A finished store can be read from a read-only folder only if SQLite is told that nobody writes to it.
            finished = not self.path.with_name(self.path.name + "-wal").exists()
            mode = "mode=rwc" if create else "mode=ro&immutable=1" if finished else "mode=ro"
            self._db = sqlite3.connect(f"{address}?{mode}", uri=True, isolation_level=None, timeout=30)
            if create and new:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(
                    f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {SCHEMA} COMMIT;"
                )
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"{shown_path(self.run)}: results.sqlite cannot be opened ({error}). Choose another --run folder."
            ) from None
        except sqlite3.DatabaseError:
            application, version = 0, 0
        if application != APPLICATION:
            raise UsageError(
                f"{shown_path(self.run)}: results.sqlite is not a results store of this tool (or is damaged); "
                "nothing was changed. Choose another --run folder."
            )
        if version != VERSION:
            raise UsageError(
                f"{shown_path(self.run)}: results.sqlite has format {version}, this release reads {VERSION}. "
                "Use the release that wrote it, or another --run folder."
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise WorkFailed(
                f"{shown_path(self.path)}: could not be written ({error}); everything stored before is kept. "
                "Run the same command again to go on."
            ) from None
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    # -- writing -----------------------------------------------------------------------------------------------------

    def add_sweep(
        self,
        dataset: tuple[str, str, str, Sequence[str]],
        image_set: tuple[str, NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
        attacks: Iterable[AttackRecord],
        spec: dict[str, Any],
        roles: dict[str, Any],
        command: str,
    ) -> None:
        """Record what a sweep is about.

        Args:
            dataset: fingerprint, name, title, class names.
            image_set: key, indices (N,), labels (N,), the first few clean images.
            attacks: the attacks.
            spec: the specification, as plain data.
            roles: the keys that play a part in it.
            command: what asked for it.
        """
        fingerprint, name, title, classes = dataset
        key, indices, labels, images = image_set
        with self._transaction() as db:
            row = (fingerprint, name, title, json.dumps(list(classes)))
            db.execute("INSERT OR REPLACE INTO datasets VALUES (?, ?, ?, ?)", row)
            shape = json.dumps(list(images.shape[1:]))
            packed = (indices.astype("<i8").tobytes(), labels.astype("<i8").tobytes(), shape, _pack_images(images))
            db.execute("INSERT OR REPLACE INTO image_sets VALUES (?, ?, ?, ?, ?, ?)", (key, fingerprint, *packed))
            for attack in attacks:
                facts = (attack.key, attack.name, attack.title, attack.norm, json.dumps(attack.card))
                db.execute("INSERT OR REPLACE INTO attacks VALUES (?, ?, ?, ?, ?)", facts)
            whole = (fingerprint, key, json.dumps(spec), json.dumps(roles), command)
            last = db.execute("SELECT fingerprint, image_set, spec, roles, command FROM sweeps ORDER BY number DESC")
            if last.fetchone() != whole:
                columns = "fingerprint, image_set, spec, roles, command"
                db.execute(f"INSERT INTO sweeps ({columns}) VALUES (?, ?, ?, ?, ?)", whole)

    def add_model(self, record: ModelRecord) -> None:
        """Record a trained or failed model."""
        facts = (record.key, record.name, record.title, record.rule, record.dataset, record.seed)
        whole = (*facts, record.status, record.error, json.dumps(record.metrics))
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", whole)

    def add_outcomes(
        self,
        image_set: str,
        outcomes: Iterable[tuple[Key, NDArray[np.int64]]],
        craftings: Iterable[tuple[tuple[str, str, float], dict[str, Any], NDArray[np.float32] | None]] = (),
    ) -> None:
        """Store one job's results, all or nothing.

        Args:
            image_set: key of the images.
            outcomes: ((surrogate, attack, epsilon, target), predicted classes (N,)).
            craftings: ((surrogate, attack, epsilon), facts about the crafting, a few images to show or None).

        """
        with self._transaction() as db:
            for (surrogate, attack, epsilon, target), predictions in outcomes:
                row = (image_set, surrogate, attack, epsilon, target, _pack(predictions))
                db.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", row)
            for (surrogate, attack, epsilon), facts, images in craftings:
                blob = None if images is None else _pack_images(images)
                row6 = (image_set, surrogate, attack, epsilon, json.dumps(facts), blob)
                db.execute("INSERT OR REPLACE INTO craftings VALUES (?, ?, ?, ?, ?, ?)", row6)

    # -- reading -----------------------------------------------------------------------------------------------------

    def stored(self, image_set: str) -> set[Key]:
        """Return the (surrogate, attack, epsilon, target) of all outcomes on these images."""
        query = "SELECT surrogate, attack, epsilon, target FROM outcomes WHERE image_set = ?"
        return {(row[0], row[1], row[2], row[3]) for row in self._db.execute(query, (image_set,))}

    def models(self) -> dict[str, ModelRecord]:
        """Return all models by key, in the order they were recorded."""
        rows: list[list[Any]] = [
            [*row[:-1], json.loads(row[-1])] for row in self._db.execute("SELECT * FROM models ORDER BY rowid")
        ]
        return {row[0]: ModelRecord(*row) for row in rows}

    def titles(self) -> dict[str, str]:
        """Return what figures call the data sets of the sweeps, by name."""
        return dict(self._db.execute("SELECT name, title FROM datasets").fetchall())

    def commands(self) -> list[str]:
        """Return the commands of all sweeps, oldest first, each once."""
        return list(dict.fromkeys(row[0] for row in self._db.execute("SELECT command FROM sweeps ORDER BY number")))

    def outcomes(self) -> list[Outcomes]:
        """Return everything, one `Outcomes` per data set: the newest sweep's images, and all sweeps on these."""
        newest = "SELECT max(number) FROM sweeps GROUP BY fingerprint"
        query = f"SELECT fingerprint, image_set FROM sweeps WHERE number IN ({newest}) ORDER BY number"
        return [self._outcomes(*row) for row in self._db.execute(query).fetchall()]

    def _roles(self, image_set: str) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Join the roles of all sweeps on these images; of a card that was changed only the newest form counts."""
        models, attacks = self.models(), dict(self._db.execute("SELECT key, name FROM attacks").fetchall())
        joined: dict[str, list[Any]] = {"surrogates": [], "targets": [], "attacks": [], "epsilons": []}
        newest: dict[Any, str] = {}
        query = "SELECT roles, spec FROM sweeps WHERE image_set = ? ORDER BY number DESC"
        rows = self._db.execute(query, (image_set,)).fetchall()
        for roles, _ in rows:
            for role, keys in json.loads(roles).items():
                for key in keys:
                    if role == "epsilons":
                        current = True
                    elif role == "attacks":
                        current = newest.setdefault(("attack", attacks[key]), key) == key
                    elif key in models:
                        current = newest.setdefault((models[key].name, models[key].seed), key) == key
                    else:
                        current = False
                    if current and key not in joined[role]:
                        joined[role].append(key)
        joined["epsilons"].sort()
        return joined, json.loads(rows[0][1])

    def _outcomes(self, fingerprint: str, image_set: str) -> Outcomes:
        query = "SELECT name, title, classes FROM datasets WHERE fingerprint = ?"
        name, title, classes = self._db.execute(query, (fingerprint,)).fetchone()
        query = "SELECT indices, labels, shape, images FROM image_sets WHERE key = ?"
        indices, labels, shape_text, images = self._db.execute(query, (image_set,)).fetchone()
        shape = json.loads(shape_text)
        roles, spec = self._roles(image_set)
        clean, cells = self._cells(image_set, roles)
        everyone = self.models()
        return Outcomes(
            dataset=name,
            title=title,
            classes=tuple(json.loads(classes)),
            indices=np.frombuffer(indices, dtype="<i8").astype(np.int64),
            labels=np.frombuffer(labels, dtype="<i8").astype(np.int64),
            images=_unpack_images(images, shape),
            models={key: everyone[key] for key in dict.fromkeys([*roles["targets"], *roles["surrogates"]])},
            surrogates=tuple(roles["surrogates"]),
            targets=tuple(roles["targets"]),
            attacks={key: self._attack(key) for key in roles["attacks"]},
            epsilons=tuple(roles["epsilons"]),
            clean=clean,
            cells=tuple(cells),
            examples=tuple(self._examples(image_set, roles, shape)),
            spec=spec,
        )

    def _attack(self, key: str) -> AttackRecord:
        query = "SELECT key, name, title, norm, card FROM attacks WHERE key = ?"
        *facts, card = self._db.execute(query, (key,)).fetchone()
        whole: list[Any] = [*facts, json.loads(card)]
        return AttackRecord(*whole)

    def _cells(self, image_set: str, roles: dict[str, list[Any]]) -> tuple[dict[str, NDArray[np.int64]], list[Cell]]:
        surrogates, targets, attacks = {"", *roles["surrogates"]}, set(roles["targets"]), set(roles["attacks"])
        clean: dict[str, NDArray[np.int64]] = {}
        cells = []
        query = (
            "SELECT surrogate, attack, epsilon, target, predictions FROM outcomes WHERE image_set = ? ORDER BY rowid"
        )
        for surrogate, attack, epsilon, target, blob in self._db.execute(query, (image_set,)):
            if attack == "":
                if target in targets | surrogates:
                    clean[target] = _unpack(blob)
            elif target in targets and surrogate in surrogates and attack in attacks and epsilon in roles["epsilons"]:
                cells.append(Cell(surrogate or None, target, attack, epsilon, _unpack(blob)))
        return clean, cells

    def _examples(self, image_set: str, roles: dict[str, list[Any]], shape: Sequence[int]) -> Iterator[Example]:
        query = "SELECT surrogate, attack, epsilon, images FROM craftings WHERE image_set = ? AND images IS NOT NULL"
        for surrogate, attack, epsilon, blob in self._db.execute(query + " ORDER BY rowid", (image_set,)):
            if attack in roles["attacks"] and surrogate in ("", *roles["surrogates"]):
                yield Example(surrogate or None, attack, epsilon, _unpack_images(blob, shape))


@contextmanager
def reading(run: Path | str) -> Iterator[Store]:
    """Open a run folder's store to read; raises UsageError for one that is not there or turns out damaged."""
    with Store(Path(run)) as store:
        try:
            yield store
        except (sqlite3.Error, zlib.error, ValueError, TypeError) as error:
            raise UsageError(
                f"{shown_path(Path(run))}: results.sqlite is damaged ({error}); nothing was changed"
            ) from None


def open_run(run: Path | str) -> list[Outcomes]:
    """Read a run folder's results, one `Outcomes` per data set; raises UsageError if there are none."""
    with reading(run) as store:
        outcomes = store.outcomes()
    if not outcomes:
        raise UsageError(
            f"{shown_path(Path(run))}: no sweep was run here yet. `robustbench-ekdaa sweep --run` fills it."
        )
    return outcomes
