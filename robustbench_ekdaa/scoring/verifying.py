"""Whether everything that a run holds is what was written: every row, checkpoint, log and file of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..crafting import load_adversarial
from ..errors import UsageError
from ..files import read_tensors, shown_path
from ..learning.job import checkpoint_path, log_path
from ..progress import Progress, Silent
from ..storing.outcomes import ModelRecord
from ..storing.store import Store, reading


@dataclass(frozen=True)
class Fault:
    """Something that is not what was written.

    Attributes:
        where: the file, with the table or the block in it.
        what: what is wrong with it.
    """

    where: str
    what: str


@dataclass(frozen=True)
class Verified:
    """What was verified of a run.

    Attributes:
        run: its folder.
        rows: rows of the store that are as they were written.
        outcomes: outcomes whose classes could be read.
        checkpoints: models whose checkpoints are the ones that the store speaks of.
        logs: logs of trainings that are.
        images: files of adversarial images that are whole.
        trainings: models that were trained again, and came out the same.
        craftings: craftings that were done again, with outcomes that came out the same.
        faults: whatever is not as it should be.
        notes: what could not be verified, and why.
    """

    run: Path
    rows: int = 0
    outcomes: int = 0
    checkpoints: int = 0
    logs: int = 0
    images: int = 0
    trainings: int = 0
    craftings: int = 0
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "run": str(self.run)}


def verify_run(run: Path, progress: Progress | None = None) -> Verified:
    """Read everything that a run holds, and compare it with the digests that were written with it.

    Args:
        run: the run folder; nothing in it is changed.
        progress: gets a bar for the files.

    Raises:
        UsageError: when there is no run.
    """
    progress = progress or Silent()
    where = run / "results.sqlite"
    if not where.is_file():
        with reading(run):
            pass
    rows = outcomes = 0
    faults: list[Fault] = []
    records: dict[str, ModelRecord] = {}
    try:
        with reading(run) as store:
            rows, outcomes, found = _verified_rows(store)
            faults += [Fault(shown_path(where), what) for what in found]
            if not found:
                records = store.models()
    except UsageError as error:
        faults.append(Fault(shown_path(where), str(error)))
    checkpoints, logs = _Counted(), _Counted()
    trained = [record for record in records.values() if record.status == "trained" and not record.external]
    bar = progress.task("checkpoints", len(trained))
    for record in trained:
        checkpoints.add(_checkpoint_fault(run, record))
        logs.add(_log_fault(run, record))
        bar.advance()
    images = _Counted()
    for path in sorted((run / "adversarial").glob("*.safetensors")):
        images.add(_image_fault(path))
    whole = (*faults, *checkpoints.faults, *logs.faults, *images.faults)
    counts = {"checkpoints": checkpoints.fine, "logs": logs.fine, "images": images.fine}
    return Verified(run, rows, outcomes, **counts, faults=whole, notes=tuple(_unknown(run, records)))


class _Counted:
    """Counts what is fine, and keeps what is not."""

    def __init__(self) -> None:
        self.fine, self.faults = 0, list[Fault]()

    def add(self, fault: Fault | None) -> None:
        """Count one thing; None is fine."""
        if fault is None:
            self.fine += 1
        else:
            self.faults.append(fault)


def _verified_rows(store: Store) -> tuple[int, int, list[str]]:
    rows, faults = store.verified_rows()
    outcomes = 0
    if not faults:
        for image_set in store.everything().image_sets:
            try:
                outcomes += sum(1 for _ in store.predictions(image_set))
            except UsageError as error:
                faults.append(str(error))
    return rows, outcomes, faults


def _checkpoint_fault(run: Path, record: ModelRecord) -> Fault | None:
    path = checkpoint_path(run, record.key)
    try:
        facts = read_tensors(path, "Remove it and run the sweep again.").facts
    except UsageError as error:
        return Fault(shown_path(path), str(error))
    noted = record.metrics.get("digest")
    if noted is not None and (facts or {}).get("digest") != noted:
        return Fault(shown_path(path), "is not the checkpoint that results.sqlite speaks of")
    return None


def _log_fault(run: Path, record: ModelRecord) -> Fault | None:
    path, noted = log_path(run, record.key), record.metrics.get("log_digest")
    try:
        content = path.read_bytes()
    except OSError as error:
        return Fault(shown_path(path), f"cannot be read ({error.strerror})")
    if noted is not None and hashlib.sha256(content).hexdigest() != noted:
        return Fault(shown_path(path), "is not the log that results.sqlite speaks of")
    return None


def _image_fault(path: Path) -> Fault | None:
    try:
        facts = load_adversarial(path).facts
    except UsageError as error:
        return Fault(shown_path(path), str(error))
    key = facts.get("key")
    if key is not None and not path.stem.endswith(f"-{key}"):
        return Fault(shown_path(path), "does not hold what its name says")
    return None


def _unknown(run: Path, records: dict[str, ModelRecord]) -> Iterator[str]:
    """Say what lies in the run folder that the store does not speak of, and what has no digest."""
    strangers = [path.name for path in (run / "checkpoints").glob("*.safetensors") if path.stem not in records]
    finished = [name for name in strangers if not name.endswith(".partial.safetensors")]
    if finished and records:
        yield f"{len(finished)} checkpoints that results.sqlite does not speak of ({', '.join(sorted(finished)[:3])})"
    early = [one for one in records.values() if one.status == "trained" and "digest" not in one.metrics]
    if early:
        yield f"{len(early)} models of the first release have no digest: that they were not changed cannot be shown"
