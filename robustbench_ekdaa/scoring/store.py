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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cards import shown_path
from ..errors import UsageError, WorkFailed
from .outcomes import IMPORTED, AttackRecord, Cell, Ensemble, Example, ModelRecord, Outcomes

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
            try:
                self._begin(create and new)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            raise UsageError(
                f"{shown_path(self.run)}: results.sqlite cannot be opened ({error}). Choose another --run folder."
            ) from None

    def _begin(self, new: bool) -> None:
        """Lay out a new file, and make sure that it is one of ours."""
        try:
            if new:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(
                    f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {SCHEMA} COMMIT;"
                )
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            raise
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
            craftings: ((surrogate, attack, epsilon), facts about the crafting, a few images to show or None to leave
                those that are stored).

        """
        with self._transaction() as db:
            for (surrogate, attack, epsilon, target), predictions in outcomes:
                row = (image_set, surrogate, attack, epsilon, target, _pack(predictions))
                db.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", row)
            for (surrogate, attack, epsilon), facts, images in craftings:
                blob = None if images is None else _pack_images(images)
                row6 = (image_set, surrogate, attack, epsilon, json.dumps(facts), blob)
                db.execute(
                    "INSERT INTO craftings VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (image_set, surrogate, attack, epsilon) "
                    "DO UPDATE SET facts = excluded.facts, images = COALESCE(excluded.images, images)",
                    row6,
                )

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

    def attacks(self) -> dict[str, AttackRecord]:
        """Return all attacks by key."""
        rows: list[list[Any]] = [
            [*row[:-1], json.loads(row[-1])]
            for row in self._db.execute("SELECT key, name, title, norm, card FROM attacks")
        ]
        return {row[0]: AttackRecord(*row) for row in rows}

    def swept_images(self, fingerprint: str) -> tuple[str, NDArray[np.int64]] | None:
        """Return key and indices of the newest sweep's images of a data set; None if there was no sweep."""
        shown = self._shown().get(fingerprint, [])
        if not shown or shown[0].imports_only:
            return None
        return shown[0].key, self._indices(shown[0].key)

    def outcomes(self) -> list[Outcomes]:
        """Return everything: per data set, the newest sweep's images with all sweeps and imports on these.

        Imports on other images cannot stand in one table with these; they come after, by themselves.
        """
        return [
            self._outcomes(fingerprint, shown, aside=place > 0)
            for fingerprint, several in self._shown().items()
            for place, shown in enumerate(several)
        ]

    def _shown(self) -> dict[str, list[_Shown]]:
        """Choose the images to show of every data set, by fingerprint; the data set of the newest sweep comes last."""
        rows = self._db.execute("SELECT fingerprint, image_set, roles FROM sweeps ORDER BY number DESC").fetchall()
        swept: dict[str, list[_Shown]] = {}
        imported: dict[str, list[_Shown]] = {}
        names = {key: record.name for key, record in self.attacks().items()}
        known: set[str] = set()
        for fingerprint, image_set, roles in rows:
            imports = json.loads(roles).get("imports")
            if imports is None and fingerprint not in swept:
                swept[fingerprint] = [_Shown(image_set)]
            elif imports is not None and not known.issuperset(names[key] for key in imports):
                known |= {names[key] for key in imports}  # what has one name is shown once, on the newest images
                imported.setdefault(fingerprint, []).append(_Shown(image_set, imports_only=True))
        found = {}
        for fingerprint in reversed(list(dict.fromkeys(row[0] for row in rows))):
            first = swept.get(fingerprint, [])
            keys = {shown.key for shown in first}
            aside = {shown.key: shown for shown in imported.get(fingerprint, ()) if shown.key not in keys}
            found[fingerprint] = [*first, *aside.values()]
        return found

    def _roles(self, shown: _Shown) -> _Roles:
        """Join the roles of all sweeps on these images; of a card that was changed only the newest form counts."""
        models, attacks, joined = self.models(), self.attacks(), _Roles()
        newest: dict[Any, str] = {}

        def current(model: str) -> bool:
            record = models.get(model)
            return record is not None and newest.setdefault((record.name, record.seed), model) == model

        query = "SELECT roles, spec FROM sweeps WHERE image_set = ? ORDER BY number DESC"
        for text, spec in self._db.execute(query, (shown.key,)).fetchall():
            roles = json.loads(text)
            if shown.imports_only and "imports" not in roles:
                continue
            joined.surrogates += filter(current, roles["surrogates"])
            joined.targets += filter(current, roles["targets"])
            joined.attacks += [key for key in roles["attacks"] if newest.setdefault(attacks[key].name, key) == key]
            joined.epsilons += roles["epsilons"]
            imports = roles.get("imports", {}).items()
            joined.imports |= {key: on for key, on in imports if newest.setdefault(attacks[key].name, key) == key}
            together = roles.get("ensembles", {})
            joined.ensembles |= {key: members for key, members in together.items() if all(map(current, members))}
            if not joined.spec or ("imports" in joined.spec and "imports" not in roles):
                joined.spec = json.loads(spec)
        return joined.without_repeats()

    def _outcomes(self, fingerprint: str, shown: _Shown, *, aside: bool) -> Outcomes:
        query = "SELECT name, title, classes FROM datasets WHERE fingerprint = ?"
        name, title, classes = self._db.execute(query, (fingerprint,)).fetchone()
        query = "SELECT labels, shape, images FROM image_sets WHERE key = ?"
        labels, shape_text, images = self._db.execute(query, (shown.key,)).fetchone()
        shape, roles = json.loads(shape_text), self._roles(shown)
        everyone, attacks = self.models(), self.attacks()
        clean, cells = self._cells(shown.key, roles)
        if aside:
            of = ", ".join(attacks[key].name for key in roles.imports)
            name, title = f"{name} ({of})", f"{title} ({of})"
        return Outcomes(
            dataset=name,
            title=title,
            classes=tuple(json.loads(classes)),
            indices=self._indices(shown.key),
            labels=np.frombuffer(labels, dtype="<i8").astype(np.int64),
            images=_unpack_images(images, shape),
            models={key: everyone[key] for key in roles.models()},
            surrogates=tuple(roles.surrogates),
            targets=tuple(roles.targets),
            attacks={key: attacks[key] for key in (*roles.attacks, *roles.imports)},
            epsilons=tuple(roles.epsilons) or (0.0, *sorted({cell.epsilon for cell in cells})),
            clean=clean,
            cells=tuple(cells),
            examples=tuple(self._examples(shown.key, roles, shape)),
            spec=roles.spec,
            ensembles={
                key: Ensemble.of(key, [everyone[member] for member in members])
                for key, members in roles.ensembles.items()
            },
            craftings=self._craftings(shown.key, roles),
        )

    def _indices(self, image_set: str) -> NDArray[np.int64]:
        (blob,) = self._db.execute("SELECT indices FROM image_sets WHERE key = ?", (image_set,)).fetchone()
        return np.frombuffer(blob, dtype="<i8").astype(np.int64)

    def _cells(self, image_set: str, roles: _Roles) -> tuple[dict[str, NDArray[np.int64]], list[Cell]]:
        models, targets = set(roles.models()), set(roles.targets)
        clean: dict[str, NDArray[np.int64]] = {}
        cells = []
        query = (
            "SELECT surrogate, attack, epsilon, target, predictions FROM outcomes WHERE image_set = ? ORDER BY rowid"
        )
        for surrogate, attack, epsilon, target, blob in self._db.execute(query, (image_set,)):
            if attack == "":
                if target in models:
                    clean[target] = _unpack(blob)
            elif target in targets and roles.play(surrogate, attack, epsilon):
                cells.append(Cell(surrogate or None, target, attack, epsilon, _unpack(blob)))
        return clean, cells

    def _examples(self, image_set: str, roles: _Roles, shape: Sequence[int]) -> Iterator[Example]:
        query = "SELECT surrogate, attack, epsilon, images FROM craftings WHERE image_set = ? AND images IS NOT NULL"
        for surrogate, attack, epsilon, blob in self._db.execute(query + " ORDER BY rowid", (image_set,)):
            if roles.play(surrogate, attack, epsilon):
                yield Example(surrogate or None, attack, epsilon, _unpack_images(blob, shape))

    def _craftings(self, image_set: str, roles: _Roles) -> dict[tuple[str | None, str, float], dict[str, float]]:
        query = "SELECT surrogate, attack, epsilon, facts FROM craftings WHERE image_set = ?"
        return {
            (surrogate or None, attack, epsilon): json.loads(facts)
            for surrogate, attack, epsilon, facts in self._db.execute(query, (image_set,))
            if roles.play(surrogate, attack, epsilon)
        }


@dataclass(frozen=True)
class _Shown:
    """A set of images whose outcomes are shown; of sweeps and imports, or of imports alone."""

    key: str
    imports_only: bool = False


@dataclass
class _Roles:
    """The keys that play a part in what is shown.

    Attributes:
        ensembles: the members of each.
        imports: for every attack whose images came from a file, the surrogate.
        spec: the newest sweep's specification; an import's only if there was no sweep.

    """

    surrogates: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    attacks: list[str] = field(default_factory=list)
    epsilons: list[float] = field(default_factory=list)
    ensembles: dict[str, list[str]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)

    def without_repeats(self) -> _Roles:
        """Return the same with every key once, and the epsilons in order."""
        return replace(
            self,
            surrogates=list(dict.fromkeys(self.surrogates)),
            targets=list(dict.fromkeys(self.targets)),
            attacks=list(dict.fromkeys(self.attacks)),
            epsilons=sorted(set(self.epsilons)),
        )

    def models(self) -> list[str]:
        """Return the keys of all models, targets first."""
        members = [member for several in self.ensembles.values() for member in several]
        crafted_on = [key for key in self.imports.values() if key not in ("", IMPORTED, *self.ensembles)]
        return list(dict.fromkeys([*self.targets, *self.surrogates, *members, *crafted_on]))

    def play(self, surrogate: str, attack: str, epsilon: float) -> bool:
        """Whether images of this attack, crafted on this surrogate ("" for none), play a part."""
        if attack in self.imports:
            return self.imports[attack] == surrogate
        known = surrogate == "" or surrogate in self.surrogates or surrogate in self.ensembles
        return known and attack in self.attacks and epsilon in self.epsilons


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
