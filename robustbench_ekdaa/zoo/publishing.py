"""Publishing trained models: their files first, then the index, so that what the index names is always there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError, located
from ..files import clear_errors, read_tensors, refuse_run_folder, shown_path, stamp
from ..learning.job import checkpoint_path, log_path
from ..progress import Progress
from ..remote import Location, put, size_of
from ..remote.reading import sha256_of
from ..remote.writing import refuse_read_only
from .index import EMPTY, INDEX, Entry, Figures, Index, StoredFile, read_index

FOLDER = "trained"  # of the zoo, in which the models' files are
ADVICE = "Choose another --to."


@dataclass(frozen=True)
class Exhibit:
    """One trained model of a run, as its store knows it.

    Attributes:
        key: the model's key.
        label: what messages call it.
        digest: what the store has noted as its checkpoint's digest.
        log_digest: and as its log's, if it has.
        about: the fields of its `Entry` that describe it.
        figures: what its training gave.
    """

    key: str
    label: str
    digest: str
    log_digest: str | None
    about: dict[str, Any]
    figures: Figures

    def entry(self, run: Path) -> Entry:
        """Return what the index is to say; raises UsageError unless the files are those that the store speaks of."""
        weights, log = checkpoint_path(run, self.key), log_path(run, self.key)
        with located(self.label):
            facts = read_tensors(weights, "").facts or {}
            if facts.get("digest") != self.digest or facts.get("key") != self.key:
                raise UsageError(f"{shown_path(weights)}: is not the checkpoint that results.sqlite speaks of")
            stored = None if stamp(log) is None or self.log_digest is None else _stored(log, f"{FOLDER}/{log.name}")
            if stored is not None and stored.sha256 != self.log_digest:
                raise UsageError(f"{shown_path(log)}: is not the log that results.sqlite speaks of")
            return Entry(
                **self.about,
                digest=self.digest,
                weights=_stored(weights, f"{FOLDER}/{weights.name}"),
                log=stored,
                figures=self.figures,
            )


@dataclass(frozen=True)
class PublishedModel:
    """What became of one model.

    Attributes:
        label: what messages call it.
        digest: of its checkpoint.
        state: "added", "there already", or "kept" where the zoo holds another training of the same card.
    """

    label: str
    digest: str
    state: Literal["added", "there already", "kept"]


def publish(run: Path, exhibits: Sequence[Exhibit], zoo: Location, progress: Progress) -> list[PublishedModel]:
    """Add models of a run to a zoo, or begin one. What the zoo holds already stays as it is.

    All are compared with the digests of the store before anything is written. The index is written last; if that is
    interrupted, the one before is still there, and all that it names.

    Raises:
        UsageError: for files that are not what the store says, and a zoo that cannot be written or is none.
        WorkFailed: for a full disk, and a server that fails or does not answer.
    """
    refuse_read_only("to", zoo)
    if zoo.path is not None:
        refuse_run_folder(zoo.path, ADVICE)
    with located("nothing was published"):
        entries = {exhibit.key: exhibit.entry(run) for exhibit in exhibits}
    with _alone(zoo):
        index = read_index(zoo) if size_of(zoo / INDEX) is not None else EMPTY
        bar, shown = progress.task(f"publish to {zoo}", len(exhibits)), []
        models = dict(index.models)
        for exhibit in exhibits:
            entry, there = entries[exhibit.key], index.models.get(exhibit.key)
            if there is not None and there.digest != entry.digest:
                shown.append(PublishedModel(exhibit.label, there.digest, "kept"))
            else:
                models[exhibit.key] = entry = _joined(there, entry)
                _put_files(run, exhibit.key, entry, zoo)
                shown.append(PublishedModel(exhibit.label, entry.digest, "there already" if there else "added"))
            bar.advance()
        if models != index.models or index is EMPTY:
            _put_index(Index(format=index.format, version=index.version, models=models), zoo)
    return shown


def _stored(path: Path, place: str) -> StoredFile:
    return StoredFile(path=place, sha256=sha256_of(path), size=path.stat().st_size)


def _joined(there: Entry | None, entry: Entry) -> Entry:
    """Return what the index is to say of a model: what it says already, with a log if it lacked that."""
    if there is None:
        return entry
    return there if there.log is not None else there.model_copy(update={"log": entry.log})


def _put_files(run: Path, key: str, entry: Entry, zoo: Location) -> None:
    """Copy a model's files to the zoo, unless they are there."""
    for source, file in ((log_path(run, key), entry.log), (checkpoint_path(run, key), entry.weights)):
        if file is not None and stamp(source) is not None and not _holds(zoo / file.path, file):
            put(zoo / file.path, source, ADVICE)


def _holds(place: Location, file: StoredFile) -> bool:
    """Whether a file is where it should be; of one elsewhere only the size is compared."""
    if size_of(place) != file.size:
        return False
    return place.path is None or sha256_of(place.path) == file.sha256


def _put_index(index: Index, zoo: Location) -> None:
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / INDEX
        draft.write_text(index.written(), encoding="utf-8")
        put(zoo / INDEX, draft, ADVICE)


@contextmanager
def _alone(zoo: Location) -> Iterator[None]:
    """Let one process at a time publish to a folder; of URLs this cannot be known."""
    if zoo.path is None:
        yield
        return
    from filelock import FileLock

    lock = FileLock(zoo.path / ".publishing.lock")
    with clear_errors(zoo.path, misuse=ADVICE):
        zoo.path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
