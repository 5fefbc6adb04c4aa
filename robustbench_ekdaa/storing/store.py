"""The results store of a run folder: one SQLite file, one transaction per job, no pickles.

Outcomes are kept per image (the class each target predicted), so that every metric is computed afterwards from the same
facts. Every row is sealed, see `storing.sealed`; what is damaged is one clear line, never a wrong number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cards import shown_path
from ..errors import UsageError
from ..progress import Progress, Silent
from .blocks import Row, WrittenBlocks, classes_of, target_sets
from .cells import Cells, OutcomeBlock
from .crafted import CraftingTable, crafting_columns, outcome_crafting
from .keys import CraftingKey, ExistingOutcomes, OutcomeKey
from .outcomes import (
    AttackRecord,
    CraftingRecord,
    DataRecord,
    Ensemble,
    ImageRecord,
    ModelRecord,
    Outcomes,
)
from .packing import (
    FACTS_FORM,
    NAMES_FORM,
    PLAIN_FORM,
    ROLES_FORM,
    SHAPE_FORM,
    Roles,
    pack_absent,
    pack_images,
    pack_indices,
    pack_json,
    printable,
    unpack_absent,
    unpack_images,
    unpack_indices,
    unpack_json,
)
from .results_file import clear_store_errors, keep_in_one_file, opened_to_read, opened_to_write, verified_rows
from .sealed import Damaged, SealedTables
from .selection import Everything, Joined, Recorded, ShownImages, join_roles, known, newest_data, shown_images
from .stored_cells import StoredSource


class Store:
    """A run folder's results; see `reading` and `writing`. The driver of a sweep is its only writer.

    Every method raises UsageError for a store that is damaged, and those that write WorkFailed for a full disk.
    """

    def __init__(self, run: Path, tables: SealedTables) -> None:
        self.run = run
        self._tables, self._craftings = tables, CraftingTable(tables)

    # -- writing -----------------------------------------------------------------------------------------------------

    def add_sweep(
        self,
        data: DataRecord,
        images: ImageRecord,
        attacks: Iterable[AttackRecord],
        spec: dict[str, Any],
        roles: Roles,
        command: str | None,
    ) -> None:
        """Record what a sweep is about.

        Args:
            data: the data set.
            images: its test images.
            attacks: the attacks.
            spec: the specification, as plain data.
            roles: the keys that play a part in it.
            command: what asked for it, if that is known.
        """
        shape = pack_json(list(images.first.shape[1:]))
        packed = (pack_indices(images.indices), pack_indices(images.labels), shape, pack_images(images.first))
        plain = roles.model_dump(exclude_none=True)
        with self._changing():
            self._renew("datasets", (data.fingerprint, data.name, data.title, pack_json(list(data.classes))))
            self._renew("image_sets", (images.key, images.fingerprint, *packed))
            self._renew("attacks", *((one.key, one.name, one.title, one.norm, pack_json(one.card)) for one in attacks))
            asked = printable(pack_absent(command))
            whole = (data.fingerprint, images.key, pack_json(spec), pack_json(plain), asked)
            if [*self._tables.rows("sweeps")][-1:] != [whole]:
                self._tables.put("sweeps", *whole)

    def add_model(self, record: ModelRecord) -> None:
        """Record a trained or failed model."""
        facts = (record.key, record.name, record.title, record.rule, record.dataset, record.seed, record.status)
        with self._changing():
            error, fingerprint = printable(pack_absent(record.error)), pack_absent(record.fingerprint)
            self._tables.put("models", *facts, error, pack_json(record.metrics), fingerprint)

    def add_outcomes(
        self,
        image_set: str,
        outcomes: Mapping[OutcomeKey, NDArray[np.int64]],
        craftings: Iterable[CraftingRecord] = (),
    ) -> None:
        """Store one job's results, all or nothing.

        Args:
            image_set: key of the images.
            outcomes: the classes predicted, each (N,).
            craftings: what is kept of the crafting of these images.

        """
        with self._changing():
            groups: dict[tuple[str, str, float], dict[str, NDArray[np.int64]]] = {}
            for outcome, predictions in outcomes.items():
                groups.setdefault(crafting_columns(outcome), {})[outcome.target] = predictions
            blocks = self._written_on(image_set)
            for place, group in groups.items():
                blocks.put(place, group)
            for crafting in craftings:
                self._craftings.put(image_set, crafting)

    def add_failure(self, image_set: str, craftings: Iterable[CraftingKey], cause: str) -> None:
        """Record why some craftings failed, beside what is known of them; it is forgotten once they are done.

        Args:
            image_set: key of the images.
            craftings: which.
            cause: why they failed.
        """
        with self._changing():
            for key in craftings:
                self._craftings.put_failure(image_set, key, cause)

    def add_probes(self, image_set: str, what: str, facts: Mapping[str, Mapping[str, float]]) -> None:
        """Store what probes found, all or nothing; see `Outcomes.probes`.

        Args:
            image_set: key of the images.
            what: hash of what was probed with.
            facts: by the models' keys; of "" what is said of the data.
        """
        with self._changing():
            for model, found in facts.items():
                self._tables.put("probes", image_set, model, what, pack_json(dict(found)))

    def keep_in_one_file(self) -> None:
        """Bring all that was stored into results.sqlite itself, so that a copy of it alone holds it."""
        keep_in_one_file(self._tables.database)

    def _written_on(self, image_set: str) -> WrittenBlocks:
        images = known(self._image_sets(), image_set, "set of images")
        classes = len(known(self._data(), images.fingerprint, "data set").classes)
        return WrittenBlocks(self._tables, image_set, images.labels, classes)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with clear_store_errors(self._path, writing=True), self._tables.transaction():
            yield

    def _renew(self, table: str, *wanted: tuple[Any, ...]) -> None:
        """Write rows unless they are there as they should be; a table that lost some is noticed, and not filled up."""
        there = {row[0]: row for row in self._tables.rows(table)}
        for row in wanted:
            if there.get(row[0]) != row:
                self._tables.put(table, *row)

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def _path(self) -> Path:
        return self.run / "results.sqlite"

    def stored(self, image_set: str) -> ExistingOutcomes:
        """Return which outcomes on these images exist."""
        with clear_store_errors(self._path):
            sets = {key: frozenset(targets) for key, targets in target_sets(self._tables).items()}
            found: dict[CraftingKey | None, frozenset[str]] = {}
            for _, *crafted, key in self._tables.keys("outcomes", image_set):
                crafting, targets = outcome_crafting(*crafted), known(sets, key, "set of targets")
                found[crafting] = found[crafting] | targets if crafting in found else targets
            return ExistingOutcomes(found)

    def has_outcomes(self, model: str) -> bool:
        """Whether there is anything that a model predicted."""
        with clear_store_errors(self._path):
            sets = {key for key, targets in target_sets(self._tables).items() if model in targets}
            return any(row[4] in sets for row in self._tables.keys("outcomes"))

    def models(self) -> dict[str, ModelRecord]:
        """Return all models by key, in the order they were recorded."""
        with clear_store_errors(self._path):
            return self._models()

    def attacks(self) -> dict[str, AttackRecord]:
        """Return all attacks by key."""
        with clear_store_errors(self._path):
            return self._attacks()

    def titles(self) -> dict[str, str]:
        """Return what figures call the data sets of the sweeps, by name."""
        with clear_store_errors(self._path):
            data = self._data()
            return {name: data[fingerprint].title for name, fingerprint in newest_data(self._sweeps(), data).items()}

    def commands(self) -> list[str | None]:
        """Return the commands of all sweeps, oldest first, each once; None stands for those that are not known."""
        with clear_store_errors(self._path):
            return list(dict.fromkeys(sweep.command for sweep in reversed(self._sweeps())))

    def name_of(self, fingerprint: str) -> str | None:
        """Return the name under which a data set's content was last swept; None if it was not."""
        with clear_store_errors(self._path):
            found = self._data().get(fingerprint)
            return found.name if found else None

    def swept_images(self, fingerprint: str) -> tuple[str, NDArray[np.int64]] | None:
        """Return key and indices of the newest sweep's images of a data set; None if there was no sweep."""
        with clear_store_errors(self._path):
            shown = shown_images(self._sweeps(), fingerprint, self._attacks())
            if not shown or shown[0].imports_only:
                return None
            key = shown[0].image_set
            return key, known(self._image_sets(), key, "set of images").indices

    def probed(self, image_set: str, what: str) -> set[str]:
        """Return the keys of the models that were probed with something on these images, "" for the data."""
        with clear_store_errors(self._path):
            return {model for _, model, found in self._tables.keys("probes", image_set) if found == what}

    def outcomes(self) -> list[Outcomes]:
        """Return what is shown, the data set of the newest sweep last; see `storing.selection`.

        Per data set, these are the newest sweep's images with all sweeps and imports on these. Imports on other images
        cannot stand in one table with these; they come after, by themselves. Of data that were replaced under one
        name, only the newest are shown.
        """
        with clear_store_errors(self._path):
            all_of_it = self._everything()
            newest = newest_data(all_of_it.sweeps, all_of_it.data)
            return [
                self._outcomes(fingerprint, shown, all_of_it, aside=place > 0)
                for fingerprint in reversed(newest.values())
                for place, shown in enumerate(shown_images(all_of_it.sweeps, fingerprint, all_of_it.attacks))
            ]

    def everything(self) -> Everything:
        """Return all that is stored beside outcomes, craftings and probes."""
        with clear_store_errors(self._path):
            return self._everything()

    def predictions(self, image_set: str) -> Iterator[tuple[OutcomeKey, NDArray[np.int64]]]:
        """Yield everything that was predicted for some images, each (N,), in the order in which it was stored."""
        with clear_store_errors(self._path):
            images = known(self._image_sets(), image_set, "set of images")
            classes = len(known(self._data(), images.fingerprint, "data set").classes)
            sets = target_sets(self._tables)
            for place in self._tables.keys("outcomes", image_set):
                _, *crafted, key = place
                crafting, targets = outcome_crafting(*crafted), known(sets, key, "set of targets")
                found = classes_of(self._tables, Row(place, len(targets)), images.labels, classes)
                for target, predictions in zip(targets, found, strict=True):
                    outcome = crafting.of(target) if crafting else OutcomeKey.clean(target)
                    yield outcome, predictions.astype(np.int64)

    def verified_rows(self) -> tuple[int, list[str]]:
        """Read every row of every table; return how many are as they were written, and what is wrong, by table."""
        return verified_rows(self._tables)

    def craftings(self, image_set: str) -> Iterator[CraftingRecord]:
        """Yield what is kept of each crafting of some images."""
        with clear_store_errors(self._path):
            clean = known(self._image_sets(), image_set, "set of images").first
            yield from self._craftings.records(image_set, clean)

    def failures(self, image_set: str) -> dict[CraftingKey, str]:
        """Return why craftings of some images failed, by those that were not done since."""
        with clear_store_errors(self._path):
            return self._craftings.failures(image_set)

    def probes(self, image_set: str) -> Iterator[tuple[str, str, dict[str, float]]]:
        """Yield what was probed with, the model's key ("" for the data) and what was found, oldest first."""
        with clear_store_errors(self._path):
            rows = self._tables.rows("probes", image_set)
            for _, model, what, facts in rows:
                yield what, model, unpack_json(FACTS_FORM, facts, "probe")

    def crafting_facts(self, image_set: str) -> dict[CraftingKey, dict[str, float]]:
        """Return what is known of all craftings of these images; see `Outcomes.craftings`."""
        with clear_store_errors(self._path):
            return self._craftings.facts(image_set)

    # -- what the rows say, inside `clear_store_errors` ----------------------------------------------------------------

    def _everything(self) -> Everything:
        return Everything(self._data(), self._image_sets(), self._models(), self._attacks(), self._sweeps())

    def _data(self) -> dict[str, DataRecord]:
        """Return all data by fingerprint."""
        found = {}
        for fingerprint, name, title, text in self._tables.rows("datasets"):
            classes = unpack_json(NAMES_FORM, text, "classes")
            found[fingerprint] = DataRecord(fingerprint, name, title, tuple(classes))
        return found

    def _models(self) -> dict[str, ModelRecord]:
        found = {}
        for key, name, title, rule, dataset, seed, status, error, metrics, fingerprint in self._tables.rows("models"):
            if status not in ("trained", "failed"):
                raise Damaged(f"a model is {status[:40]!r}")
            facts = unpack_json(PLAIN_FORM, metrics, "metrics")
            found[key] = ModelRecord(
                *(key, name, title, rule, dataset, seed, status),
                error=unpack_absent(error),
                metrics=facts,
                fingerprint=unpack_absent(fingerprint),
            )
        return found

    def _attacks(self) -> dict[str, AttackRecord]:
        return {
            key: AttackRecord(key, name, title, norm, unpack_json(PLAIN_FORM, card, "attack"))
            for key, name, title, norm, card in self._tables.rows("attacks")
        }

    def _sweeps(self) -> list[Recorded]:
        """Return all sweeps and imports, the newest first."""
        rows = [*self._tables.rows("sweeps")]
        return [
            Recorded(
                data,
                images,
                unpack_json(PLAIN_FORM, spec, "sweep"),
                unpack_json(ROLES_FORM, roles, "roles"),
                unpack_absent(command),
            )
            for data, images, spec, roles, command in reversed(rows)
        ]

    def _image_sets(self) -> dict[str, ImageRecord]:
        found = {}
        for key, fingerprint, indices, labels, shape, images in self._tables.rows("image_sets"):
            positions, size = unpack_indices(indices, "indices"), unpack_json(SHAPE_FORM, shape, "shape")
            clean = unpack_images(images, size, len(positions))
            found[key] = ImageRecord(key, fingerprint, positions, unpack_indices(labels, "labels"), clean)
        return found

    def _outcomes(self, fingerprint: str, shown: ShownImages, everything: Everything, *, aside: bool) -> Outcomes:
        attacks, images = everything.attacks, everything.images(shown, fingerprint)
        data = everything.data[fingerprint]
        name, title, classes = data.name, data.title, data.classes
        joined = join_roles(everything.sweeps, shown, everything.models, attacks)
        models = {key: known(everything.models, key, "model") for key in joined.models()}
        clean, cells = self._cells(shown.image_set, joined, everything.models, images.labels, len(classes))
        kept = self._craftings.shown(shown.image_set, joined, images.first)
        if aside:
            of = ", ".join(attacks[key].name for key in joined.imports)
            name, title = f"{name} ({of})", f"{title} ({of})"
        return Outcomes(
            dataset=name,
            title=title,
            classes=classes,
            indices=images.indices,
            labels=images.labels,
            images=images.first,
            models=models,
            surrogates=tuple(joined.surrogates),
            targets=tuple(joined.targets),
            foreign=_of_no_target(joined, models),
            attacks={key: attacks[key] for key in (*joined.attacks, *joined.imports)},
            epsilons=tuple(joined.epsilons) or (0.0, *sorted({crafting.epsilon for crafting in cells.craftings})),
            clean=clean,
            cells=cells,
            examples=kept.examples,
            spec=joined.spec,
            ensembles={
                key: Ensemble.of(key, [models[member] for member in members])
                for key, members in joined.ensembles.items()
            },
            craftings=kept.facts,
            crafted_with=kept.made_with,
            image_set=shown.image_set,
            probes=self._probes(shown.image_set),
            replaced=self._count_outcomes(everything.replaced(fingerprint)),
        )

    def _cells(
        self,
        image_set: str,
        joined: Joined,
        recorded: Mapping[str, ModelRecord],
        labels: NDArray[np.int64],
        classes: int,
    ) -> tuple[dict[str, NDArray[np.int64]], Cells]:
        models, targets, sets = set(joined.models()), set(joined.targets), target_sets(self._tables)
        clean: dict[str, NDArray[np.int64]] = {}
        blocks, rows = [], []
        for place in self._tables.keys("outcomes", image_set):
            _, *crafted, key = place
            crafting, there = outcome_crafting(*crafted), known(sets, key, "set of targets")
            for target in there:
                known(recorded, target, "model")
            if crafting is None:
                predictions = classes_of(self._tables, Row(place, len(there)), labels, classes)
                clean |= {one: found.astype(np.int64) for one, found in zip(there, predictions, strict=True)}
            elif joined.play(crafting) and not targets.isdisjoint(there):
                shown = tuple(number for number, target in enumerate(there) if target in targets)
                blocks.append(OutcomeBlock(crafting, tuple(there[number] for number in shown)))
                rows.append(Row(place, len(there), None if len(shown) == len(there) else shown))
        clean = {target: predictions for target, predictions in clean.items() if target in models}
        for block in blocks:
            for target in block.targets:
                known(clean, target, "clean pass of model")
            if not 0 < block.crafting.epsilon < math.inf:
                raise Damaged(f"an epsilon is {block.crafting.epsilon}")
        source = StoredSource(self.run, rows, labels, classes)
        if self._tables.temporary:
            source.hold(self._tables)
        return clean, Cells(blocks, labels, source)

    def _count_outcomes(self, image_sets: Iterable[str]) -> int:
        sizes = {key: len(targets) for key, targets in target_sets(self._tables).items()}
        return sum(sizes.get(row[-1], 0) for key in image_sets for row in self._tables.keys("outcomes", key))

    def _probes(self, image_set: str) -> dict[str, dict[str, float]]:
        rows = self._tables.rows("probes", image_set)  # the newest last
        return {model: unpack_json(FACTS_FORM, facts, "probe") for _, model, _, facts in rows}


def _of_no_target(joined: Joined, models: Mapping[str, ModelRecord]) -> tuple[str, ...]:
    """Return the surrogates that are marked as such, without those of a target's architecture."""
    networks = {models[key].metrics.get("network") for key in joined.targets}
    return tuple(key for key in joined.foreign if models[key].metrics.get("network") not in networks)


@contextmanager
def reading(run: Path | str) -> Iterator[Store]:
    """Open a run folder's store to read what is there now; raises UsageError for one that is not there or damaged."""
    with opened_to_read(Path(run)) as tables:
        yield Store(Path(run), tables)


@contextmanager
def writing(run: Path | str, progress: Progress | None = None, *, patient: bool = True) -> Iterator[Store]:
    """Open a run folder's store to write, or make it; where another command writes to it, wait and say so.

    Args:
        run: the run folder.
        progress: is told of the waiting.
        patient: whether to wait.

    Raises:
        UsageError: for a folder that cannot be used, or a store that is damaged.
        WorkFailed: for a full disk.
    """
    folder = Path(run)
    check = lambda tables: Store(folder, tables).outcomes()  # noqa: E731
    with opened_to_write(folder, progress or Silent(), check, patient=patient) as tables:
        yield Store(folder, tables)


def open_run(run: Path | str) -> list[Outcomes]:
    """Read a run folder's results, one `Outcomes` per data set; raises UsageError if there are none."""
    with reading(run) as store:
        outcomes = store.outcomes()
    if not outcomes:
        raise UsageError(
            f"{shown_path(Path(run))}: no sweep was run here yet. `robustbench-ekdaa sweep --run` fills it."
        )
    return outcomes


def noted_digest(run: Path, key: str) -> str | None:
    """Return what the store has noted as a checkpoint's digest; None if nothing, or if the run has no store."""
    if not os.path.lexists(run / "results.sqlite"):  # somebody copied checkpoints alone
        return None
    with reading(run) as store:
        record = store.models().get(key)
    return record.metrics.get("digest") if record else None
