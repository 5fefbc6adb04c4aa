"""Several runs, of several machines or people, become one; what does not fit is told, and nothing is overwritten."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UsageError
from ..files import clear_errors, read_tensors, refuse_run_folder, shown_path, whole_file, whole_folder
from ..learning.job import checkpoint_path, log_path
from ..progress import Progress, Silent
from ..storing.keys import CraftingKey, OutcomeKey
from ..storing.outcomes import ModelRecord
from ..storing.selection import Everything, Recorded
from ..storing.store import Store, reading, writing
from .images import merge_image_files
from .meanings import difference, meanings

OTHER_OUT = "Choose another --out."


class MergeConflicts(UsageError):
    """Runs that do not fit together.

    Attributes:
        conflicts: what does not fit, a line each.

    """

    def __init__(self, conflicts: Sequence[str]) -> None:
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        super().__init__(f"the runs do not fit together, and nothing was written: {conflicts[0]}{more}")
        self.conflicts = tuple(conflicts)


@dataclass(frozen=True)
class Merged:
    """What a merged run holds.

    Attributes:
        run: its folder.
        models: how many models, failed ones among them.
        outcomes: how many outcomes: what one model predicts for one set of images.

    """

    run: Path
    models: int
    outcomes: int


def merge_runs(runs: Sequence[Path], out: Path, progress: Progress | None = None) -> Merged:
    """Write a run folder that holds what several hold, as if all had been computed there, in the order of the runs.

    Args:
        runs: the run folders; they are only read.
        out: the new run folder, which appears whole or not at all.
        progress: gets the conflicts, a line each.

    Raises:
        MergeConflicts: when one key has two contents, or one name stands for two things.
        UsageError: for a run that is damaged or not there, and a folder that is there already.
        WorkFailed: for a full disk.

    """
    progress = progress or Silent()
    if not runs:
        raise UsageError("name the runs to merge")
    with clear_errors(out, kept="nothing was written", misuse=OTHER_OUT), ExitStack() as opened:
        refuse_run_folder(out, OTHER_OUT)
        _refuse_existing(out)
        stores = [opened.enter_context(reading(run)) for run in runs]
        with whole_folder(out) as draft:
            with writing(draft) as target:
                merging = _Merging(target)
                for store in stores:
                    merging.take(store)
                merging.add_models()
            if merging.conflicts:
                for conflict in merging.conflicts:
                    progress.line(f"conflict: {conflict}")
                raise MergeConflicts(merging.conflicts)
            merging.copy_files(draft)
            _refuse_existing(out)
    return Merged(out, len(merging.models), len(merging.outcomes))


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise UsageError(f"{shown_path(out)}: is there already, and a merged run is a new folder. {OTHER_OUT}")


class _Merging:
    """The new run, as far as it is there, and what does not fit.

    Attributes:
        models: by key, the record and the run whose files it speaks of.
        outcomes: of every outcome, a digest and the run it came from.
        images: the files of saved images, by name.
        failures: why craftings failed, by set of images and crafting.

    """

    def __init__(self, target: Store) -> None:
        self.target = target
        self.conflicts: list[str] = []
        self.models: dict[str, tuple[ModelRecord, Path]] = {}
        self.outcomes: dict[tuple[str, OutcomeKey], tuple[bytes, Path]] = {}
        self.images: dict[str, dict[Path, Path]] = {}
        self.failures: dict[tuple[str, CraftingKey], str] = {}
        self._meanings: dict[tuple[str, ...], tuple[str, Everything, Path]] = {}
        self._contents: dict[tuple[Hashable, ...], tuple[object, Path]] = {}
        self._sweeps: list[Recorded] = []

    def take(self, store: Store) -> None:
        """Add a run, and note what of it does not fit."""
        found, run = store.everything(), store.run
        self._compare_meanings(found, run)
        for record in found.models.values():
            self._take_model(record, run)
        self._take_sweeps(found, run)
        for image_set in found.image_sets:
            self._take_outcomes(store, image_set, found)
            self._take_craftings(store, image_set, found)
            for what, model, facts in store.probes(image_set):
                if self._is_new(("probe", image_set, what, model), facts, run, "what a probe found"):
                    self.target.add_probes(image_set, what, {model: facts})
        for path in sorted((run / "adversarial").glob("*.safetensors")):
            self.images.setdefault(path.name, {})[path] = run

    def add_models(self) -> None:
        """Record the models, once all runs were taken: what failed in one may be there in another."""
        for record, _ in self.models.values():
            self.target.add_model(record)
        for (image_set, key), cause in self.failures.items():
            if ("crafting", image_set, key) not in self._contents:
                self.target.add_failure(image_set, [key], cause)
        for name, places in self.images.items():
            for conflict in merge_image_files(list(places)).conflicts:
                first, *_, last = places.values()
                self._conflict(f"{name}: {conflict}", first, last)

    def copy_files(self, draft: Path) -> None:
        """Copy checkpoints, logs and saved images; raises UsageError for one that is not what its run says."""
        for key, (record, run) in self.models.items():
            _copy_model(key, record, run, draft)
        for name, places in self.images.items():
            merge_image_files(list(places)).write(draft / "adversarial" / name)

    def _conflict(self, what: str, first: Path, second: Path, why: str = "") -> None:
        line = f"{what} in {shown_path(second)} than in {shown_path(first)}{why and f' ({why})'}"
        if line not in self.conflicts:
            self.conflicts.append(line)

    def _is_new(self, place: tuple[Hashable, ...], content: object, run: Path, what: str) -> bool:
        """Whether something is not there yet; note where its content is another."""
        if place not in self._contents:
            self._contents[place] = content, run
            return True
        before, where = self._contents[place]
        if before != content:
            self._conflict(f"{what} is another", where, run)
        return False

    def _compare_meanings(self, found: Everything, run: Path) -> None:
        """Note what stands for one thing in this run, and for another in an earlier one."""
        others: set[str] = set()  # data sets of which all else is another too
        for meaning, key in meanings(found).items():
            kind, dataset, *name = meaning
            first, before, where = self._meanings.setdefault(meaning, (key, found, run))
            if first != key and dataset not in others:
                others |= {dataset} if kind == "data set" else set()
                why = difference(kind, (before, first), (found, key))
                self._conflict(f"{dataset}: {' '.join(['the', kind, *name])} is another", where, run, why)

    def _take_model(self, record: ModelRecord, run: Path) -> None:
        before, where = self.models.setdefault(record.key, (record, run))
        if where == run:
            return
        label = f"{record.name} on {record.dataset}, seed {record.seed}"
        states = {before.status, record.status}
        for fact in ("name", "rule", "dataset", "seed"):
            if getattr(before, fact) != getattr(record, fact):
                self._conflict(f"{label}: the {fact} of one model is another", where, run)
                return
        if len(states) == 2 and (before.metrics.get("diverged") or record.metrics.get("diverged")):
            self._conflict(f"{label}: its training, which diverged in one of them, is another", where, run)
        elif states == {"trained"} and not _same_weights((before, where), (record, run)):
            self._conflict(f"{label}: what its training gave is another", where, run)
        elif _worth(record, run) > _worth(before, where):
            self.models[record.key] = record, run

    def _take_sweeps(self, found: Everything, run: Path) -> None:
        for key, data in found.data.items():
            self._is_new(("data set", key), data, run, f"{data.name}: what is known of the data set")
        for key, images in found.image_sets.items():
            content = tuple(part.tobytes() for part in (images.indices, images.labels, images.first))
            self._is_new(("images", key), content, run, f"{_dataset(found, key)}: the set of images")
        for key, attack in found.attacks.items():
            self._is_new(("attack", key), replace(attack, title=""), run, f"{attack.name}: the attack")
        for sweep in reversed(found.sweeps):
            if sweep not in self._sweeps:
                self._sweeps.append(sweep)
                attacks = [found.attacks[key] for key in (*sweep.roles.attacks, *(sweep.roles.imports or ()))]
                data, images = found.data[sweep.fingerprint], found.image_sets[sweep.image_set]
                self.target.add_sweep(data, images, attacks, sweep.spec, sweep.roles, sweep.command)

    def _take_outcomes(self, store: Store, image_set: str, found: Everything) -> None:
        for _, some in groupby(store.predictions(image_set), key=lambda one: one[0].crafting):
            fresh: dict[OutcomeKey, NDArray[np.int64]] = {}
            for key, classes in some:
                digest = hashlib.blake2b(classes.tobytes(), digest_size=16).digest()
                if (image_set, key) not in self.outcomes:
                    self.outcomes[image_set, key] = digest, store.run
                    fresh[key] = classes
                    continue
                before, where = self.outcomes[image_set, key]
                if before != digest:
                    what = f"what {_model(found, key.target)} predicts for {_images(found, key)}"
                    self._conflict(f"{_dataset(found, image_set)}: {what} is another", where, store.run)
            if fresh:
                self.target.add_outcomes(image_set, fresh)

    def _take_craftings(self, store: Store, image_set: str, found: Everything) -> None:
        for record in store.craftings(image_set):
            key, facts, images, _ = record
            told = {name: value for name, value in facts.items() if name != "seconds"}
            what = f"{_dataset(found, image_set)}: {_images(found, key.of(''))}"
            if self._is_new(
                ("crafting", image_set, key), told, store.run, f"{what}: what is known of the crafting"
            ) or (images is not None and ("shown", image_set, key) not in self._contents):
                self.target.add_outcomes(image_set, {}, [record])
            if images is not None:
                self._is_new(("shown", image_set, key), images.tobytes(), store.run, f"{what}: what the images are")
        for key, cause in store.failures(image_set).items():
            self.failures.setdefault((image_set, key), cause)


def _dataset(found: Everything, image_set: str) -> str:
    return found.data[found.image_sets[image_set].fingerprint].name


def _model(found: Everything, key: str) -> str:
    record = found.models.get(key)
    return f"{record.name} seed {record.seed}" if record else key


def _images(found: Everything, key: OutcomeKey) -> str:
    """Say which images an outcome is about."""
    if key.attack is None:
        return "the clean images"
    attack = found.attacks[key.attack].name if key.attack in found.attacks else key.attack
    on = f" on {_model(found, key.surrogate)}" if key.surrogate else ""
    return f"{attack}{on} at epsilon {key.epsilon:g}"


def _worth(record: ModelRecord, run: Path) -> tuple[bool, bool]:
    """Return how much is there of a model: a trained one is worth more than a failed one, and one with its weights."""
    return record.status == "trained", checkpoint_path(run, record.key).exists()


def _same_weights(one: tuple[ModelRecord, Path], other: tuple[ModelRecord, Path]) -> bool:
    """Whether two trainings of one key gave the same weights, however long they took."""
    if one[0].metrics.get("digest") == other[0].metrics.get("digest") is not None:
        return True
    paths = [checkpoint_path(run, record.key) for record, run in (one, other)]
    if not all(path.exists() for path in paths):
        facts = ("train_loss", "train_accuracy", "test_accuracy")
        return all(one[0].metrics.get(fact) == other[0].metrics.get(fact) for fact in facts)
    first, second = (read_tensors(path).tensors for path in paths)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _copy_model(key: str, record: ModelRecord, run: Path, draft: Path) -> None:
    """Copy a model's checkpoint and log, which must be those that its record speaks of."""
    path = checkpoint_path(run, key)
    if path.exists():
        copy = _copy(path, checkpoint_path(draft, key))
        found, noted = (read_tensors(copy).facts or {}).get("digest"), record.metrics.get("digest")
        if noted is not None and found != noted:
            raise UsageError(f"{shown_path(path)}: is not the checkpoint that results.sqlite speaks of. Remove it.")
    log, noted = log_path(run, key), record.metrics.get("log_digest")
    if log.exists():
        copy = _copy(log, log_path(draft, key))
        if noted is not None and hashlib.sha256(copy.read_bytes()).hexdigest() != noted:
            raise UsageError(f"{shown_path(log)}: is not the log that results.sqlite speaks of. Remove it.")


def _copy(path: Path, to: Path) -> Path:
    with whole_file(to) as draft:
        shutil.copyfile(path, draft)
    return to
