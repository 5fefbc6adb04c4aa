"""Doing a job on a machine that has neither the run folder, nor the data, nor the cards' files.

The driver packs what the job needs. The other machine unpacks it into a private folder that looks like the run folder,
does the job there as it is done everywhere, and answers with the result and with the files that the job has written.
Nothing else in the package knows about this.
"""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import Dataset, Split
from ..files import Stamp, clear_errors, stamp, tidy, whole_file
from ..files.unfinished import private_folder
from ..learning.adversarial import SENT_ATTACKS
from ..progress import Bar, Progress
from ..registrations import Registrations, registrations
from ..registry import MOST_SOURCE, SENT_FILES
from .executor import run_job
from .luggage import SENT_DATASETS, Luggage, Portable, Reference
from .worker import prepare, sendable

Bytes = NDArray[np.uint8]
KEPT_DATASETS = 2  # as many as a process keeps of its own


@dataclass(frozen=True)
class Parcel:
    """A job with what it needs. Of what is large it holds handles, which `carry_out` gives to its `fetch`.

    Attributes:
        job: the job.
        luggage: what it needs; the paths in it are the driver's.
        files: handles of the files' bytes, by their places in the run folder.
        dataset: the handle of the data set's arrays, see `as_arrays`.
        registered: what modules and the user's script have registered in the driver.
        modules: the content of their files.
    """

    job: Portable
    luggage: Luggage
    files: Mapping[str, Any]
    dataset: Any
    registered: Registrations
    modules: Mapping[str, bytes]


@dataclass
class Answer:
    """What became of a job.

    Attributes:
        result: what it returned.
        failure: its error and where that came from, or None.
        told: what it told its `Progress`.
        changed: the files of the run folder that it wrote, by place.
        gone: those that it removed.
        torch: the version of PyTorch there.
    """

    result: Any
    failure: tuple[BaseException, str] | None
    told: ToldProgress
    changed: dict[str, Bytes]
    gone: list[str]
    torch: str


class ToldProgress:
    """A `Progress` that notes what it is told, to be repeated elsewhere."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int]] = []
        self.notes: list[tuple[int, Any, str | None]] = []  # (which task, how far it went, note); -1 is a line

    def task(self, label: str, total: int) -> Bar:
        """Note a bar."""
        self.tasks.append((label, total))
        return _NotingBar(self, len(self.tasks) - 1)

    def line(self, text: str) -> None:
        """Note a line."""
        self.notes.append((-1, text, None))

    def repeat(self, progress: Progress) -> None:
        """Tell it to another `Progress`."""
        bars = [progress.task(label, total) for label, total in self.tasks]
        for which, content, note in self.notes:
            if which < 0:
                progress.line(content)
            else:
                bars[which].advance(content, note)


class _NotingBar:
    def __init__(self, told: ToldProgress, number: int) -> None:
        self.told, self.number = told, number

    def advance(self, amount: int = 1, note: str | None = None) -> None:
        notes = self.told.notes
        if notes and notes[-1][0] == self.number:
            _, before, last = notes.pop()
            amount, note = amount + before, last if note is None else note
        notes.append((self.number, amount, note))


def as_arrays(dataset: Dataset) -> dict[str, Any]:
    """Return a data set as NumPy arrays, which processes of one machine can share, and its plain fields."""
    halves = {"train": dataset.train, "test": dataset.test}
    arrays = {half: (split.images.numpy(), split.labels.numpy()) for half, split in halves.items()}
    plain = {name: getattr(dataset, name) for name in ("name", "title", "classes", "fingerprint", "source")}
    return {**plain, **arrays}


def _from_arrays(sent: Mapping[str, Any]) -> Dataset:
    halves = {half: Split(*map(torch.from_numpy, sent[half])) for half in ("train", "test")}
    return Dataset(**{**sent, **halves})


def parcel_for(job: Portable, luggage: Luggage, dataset: Any, files: Mapping[str, Any]) -> Parcel:
    """Return a job ready to be sent; `dataset` and `files` are handles."""
    registered = registrations()
    paths = [*(file for _, file in registered.modules), registered.script.get("init_main_from_path")]
    modules = {path: Path(path).read_bytes() for path in paths if path and _is_source(Path(path))}
    return Parcel(job, luggage, files, dataset, registered, modules)


def _is_source(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MOST_SOURCE


def carry_out(parcel: Parcel, fetch: Callable[[Any], Any], place: Path) -> Answer:
    """Do a job on this machine; whatever it raises is part of the answer.

    Args:
        parcel: what the driver packed.
        fetch: turns handles into bytes or arrays.
        place: where to make a private folder; what killed processes left there is removed.
    """
    tidy(place)
    luggage, told = parcel.luggage, ToldProgress()
    with private_folder(place) as room, _sent(parcel, fetch, _code_folder(place)):
        run = room / "run"
        before = {}
        for name, handle in parcel.files.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            fetch(handle).tofile(run / name)
            before[name] = stamp(run / name)
        result, failure = None, None
        try:
            _prepare_once(parcel.registered, parcel.modules, _code_folder(place))
            result = run_job(parcel.job.at(run), told)
        except BaseException as error:
            told_error, where = sendable(error)
            failure = _with_paths_of(told_error, run, luggage.run), where
        changed, gone = _changes(run, before)
    return Answer(result, failure, told, changed, gone, torch.__version__)


def _changes(run: Path, before: Mapping[str, Stamp | None]) -> tuple[dict[str, Bytes], list[str]]:
    """Return the content of the files that are new or others now, and the places of those that are gone."""
    now = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    changed = {name: np.fromfile(path, np.uint8) for name, path in now.items() if stamp(path) != before.get(name)}
    return changed, sorted(set(before) - set(now))


def unpack(answer: Answer, luggage: Luggage) -> None:
    """Put the files that a job wrote elsewhere into the run folder; raises WorkFailed when it cannot be written."""
    for name, content in answer.changed.items():
        path = luggage.run / name
        with clear_errors(path), whole_file(path) as draft:
            content.tofile(draft)
    for name in answer.gone:
        (luggage.run / name).unlink(missing_ok=True)


def _with_paths_of(error: BaseException, here: Path, there: Path) -> BaseException:
    """Name files in a message as the driver knows them."""
    error.args = tuple(one.replace(str(here), str(there)) if isinstance(one, str) else one for one in error.args)
    return error


@contextmanager
def _sent(parcel: Parcel, fetch: Callable[[Any], Any], code: Path) -> Iterator[None]:
    """Let this process find the data set, the Python files and the attack cards of a job where it looks for them."""
    fingerprint = parcel.luggage.dataset[1]
    if fingerprint not in SENT_DATASETS:
        while len(SENT_DATASETS) >= KEPT_DATASETS:
            del SENT_DATASETS[next(iter(SENT_DATASETS))]
        SENT_DATASETS[fingerprint] = _from_arrays(fetch(parcel.dataset))
    files = {name: _written(code, name, content) for name, content in parcel.luggage.sources.items()}
    with _added(SENT_FILES, files), _added(SENT_ATTACKS, parcel.luggage.attacks):
        yield


@contextmanager
def _added(table: dict[Any, Any], entries: Mapping[Any, Any]) -> Iterator[None]:
    before = dict(table)
    table.update(entries)
    try:
        yield
    finally:
        table.clear()
        table.update(before)


@lru_cache(maxsize=8)
def _code_folder(place: Path) -> Path:
    """Return this process's folder for Python files; modules are imported from it, so it stays until the end."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(private_folder(place))


def _written(code: Path, name: Reference | str, content: bytes) -> Path:
    """Write a Python file under its own name, in a folder named by the path it has elsewhere and by its content."""
    digest = hashlib.sha256(repr(name).encode() + content).hexdigest()[:16]
    path = code / digest / Path(name if isinstance(name, str) else name[0]).name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return path


_prepared: set[tuple[tuple[str, str], ...]] = set()


def _prepare_once(registered: Registrations, modules: Mapping[str, bytes], code: Path) -> None:
    """Register what the driver has registered, from the files that it sent."""
    if registered.names in _prepared:
        return
    here = {path: str(_written(code, path, content)) for path, content in modules.items()}
    files = tuple((name, here.get(file or "", file)) for name, file in registered.modules)
    script = {key: here.get(value, value) for key, value in registered.script.items()}
    prepare(replace(registered, modules=files, script=script))
    _prepared.add(registered.names)
