"""What trackers are given: the trainings' logs and the summary's figures, as named curves; nothing is computed here.

Each tracker is a file beside this one, and writes into a folder of its own inside the run folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...analysis.logs import FIGURES
from ...analysis.trainings import Trainings
from ...errors import UsageError, unknown_name

if TYPE_CHECKING:
    import pandas

TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow"}  # name -> the module it needs
CURVES = ("loss", "accuracy", "learning_rate")
RESULTS = ("train_accuracy", "test_accuracy", "held_out_accuracy")


@dataclass(frozen=True)
class Tracked:
    """One curve sheet: a model of the run, or a target card of its summary.

    Attributes:
        name: its path in the tracker, such as ``digits/ekdaa/seed 0``.
        key: what tells it from all others.
        facts: plain facts about it.
        points: (name of the curve, step, value), step by step; the step is the epoch, and 0 for what has none.
    """

    name: str
    key: str
    facts: dict[str, str]
    points: tuple[tuple[str, int, float], ...]


def check_tracker(name: str) -> str:
    """Return a tracker's name; raises UsageError for an unknown one, and for one whose library is not installed."""
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    if importlib.util.find_spec(TRACKERS[name]) is None:
        raise UsageError(f"--track {name}: {name} is not installed. pip install 'robustbench-ekdaa[{name}]'")
    return name


def write_tracked(name: str, run: Path, trainings: Trainings, summary: pandas.DataFrame | None) -> Path:
    """Write a run's trainings and summary for a tracker, in place of what was written before, and return the folder.

    Args:
        name: one of `TRACKERS`.
        run: the run folder.
        trainings: its trainings.
        summary: see `Results.summary`; None before there are results.

    Raises:
        UsageError: for an unknown tracker, or one that is not installed.
        WorkFailed: when the folder cannot be written.
    """
    writer = importlib.import_module(f".to_{check_tracker(name)}", __package__)
    folder: Path = getattr(writer, f"write_{name}")(run / name, [*_models(trainings), *_cards(summary)])
    return folder


def _models(trainings: Trainings) -> Iterator[Tracked]:
    for key, record in trainings.models.items():
        epochs = trainings.epochs[trainings.epochs["key"] == key]
        layers = trainings.layers[trainings.layers["key"] == key]
        points = [(curve, int(row["epoch"]), row[curve]) for row in epochs.to_dict("records") for curve in CURVES]
        points += [
            (f"{figure}/{row['layer']}", int(row["epoch"]), row[figure])
            for row in layers.to_dict("records")
            for figure in FIGURES
        ]
        last = int(epochs["epoch"].max()) if len(epochs) else 0
        points += [(f"final/{name}", last, record.metrics.get(name)) for name in RESULTS]
        facts = {"dataset": record.dataset, "model": record.name, "rule": record.rule, "seed": str(record.seed)}
        yield Tracked(
            f"{record.dataset}/{record.name}/seed {record.seed}",
            key,
            {**facts, "key": key, "status": record.status},
            tuple(_finite(points)),
        )


def _cards(summary: pandas.DataFrame | None) -> Iterator[Tracked]:
    if summary is None:
        return
    for row in summary.to_dict("records"):
        where = "/".join(["summary", row["dataset"], *([row["norm"]] if row["norm"] else []), row["model"]])
        figures = [(f"summary/{name}", 0, value) for name, value in row.items()]
        facts = {str(name): value for name, value in row.items() if isinstance(value, str)}
        yield Tracked(where, where, facts, tuple(_finite(figures)))


def _finite(points: Iterable[tuple[str, int, Any]]) -> Iterator[tuple[str, int, float]]:
    """Leave out what is no number, and what trackers cannot draw."""
    for name, step, value in points:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield name, step, float(value)
