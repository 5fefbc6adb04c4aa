"""How a run's models were trained: their records, and what their trainings logged, as tidy tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..cards.crossing import EPOCH
from ..errors import UsageError
from ..learning.contract import declared_exemptions
from ..registry import RULES
from ..storing.outcomes import ModelRecord
from ..storing.store import reading
from .logs import EPOCH_COLUMNS, LAYER_COLUMNS, read_log

MODEL = ("key", "dataset", "model", "rule", "seed")


@dataclass(frozen=True)
class Trainings:
    """Trainings of a run; nothing here runs a model, and no checkpoint is needed.

    Attributes:
        models: the trained and failed models by key, oldest first.
        epochs: a row per model and epoch; see `analysis.logs.Log`.
        layers: a row per model, epoch and layer.
        titles: what figures call the data sets, by name.
        unread: keys of trained models whose log is missing or damaged.
    """

    models: dict[str, ModelRecord]
    epochs: pd.DataFrame
    layers: pd.DataFrame
    titles: dict[str, str]
    unread: tuple[str, ...] = ()

    @property
    def datasets(self) -> list[str]:
        """The data sets' names."""
        return list(dict.fromkeys(record.dataset for record in self.models.values()))

    def title(self, dataset: str) -> str:
        """Return what figures call a data set."""
        return self.titles.get(dataset, dataset)

    def only(self, keys: Collection[str]) -> Trainings:
        """Return some of them."""
        return Trainings(
            {key: record for key, record in self.models.items() if key in keys},
            self.epochs[self.epochs["key"].isin(list(keys))],
            self.layers[self.layers["key"].isin(list(keys))],
            self.titles,
            tuple(key for key in self.unread if key in keys),
        )

    def newest(self, dataset: str) -> Trainings:
        """Return the newest training of each card and seed on a data set, as the data are now.

        Those that held images out, to choose a recipe, count only where there are no others. For
        models of the first release it is not recorded whether their data were replaced since.
        """
        on_any = [record for record in self.models.values() if record.dataset == dataset]
        some = [record for record in on_any if record.fingerprint in (None, on_any[-1].fingerprint)]
        whole = [record for record in some if not held_out(record)]
        return self.only({(record.name, record.seed): record.key for record in whole or some}.values())

    def whole(self) -> Trainings:
        """Return them without earlier epochs of trainings that are among them, whose logs begin alike."""
        trained = {key for key, record in self.models.items() if record.status == "trained"}
        return self.only(
            {key for key, record in self.models.items() if record.training == key or record.training not in trained}
        )


def held_out(record: ModelRecord) -> bool:
    """Whether a training held images out, to choose a recipe, and so never saw the test images."""
    return record.metrics.get("held_out_accuracy") is not None


def read_trainings(run: Path | str) -> Trainings:
    """Read how a run's models were trained; a log that is missing or damaged is only noted.

    Raises:
        UsageError: when there is no store, or it is damaged.
    """
    with reading(run) as store:
        models, titles = store.models(), store.titles()
    epochs, layers, unread = [], [], []
    for key, record in sorted(models.items(), key=_by_card(models)):
        titles.setdefault(record.dataset, str(record.metrics.get("dataset_title") or record.dataset))
        if record.status != "trained" or record.external:
            continue
        try:
            log = read_log(Path(run), key, record.metrics.get("log_digest"))
        except UsageError:
            unread.append(key)
            continue
        about: dict[str, str | int] = {
            "key": key,
            "dataset": record.dataset,
            "model": record.name,
            "rule": record.rule,
            "seed": record.seed,
        }
        epochs.append(log.epochs.assign(**about))
        layers.append(log.layers.assign(**about))
    return Trainings(models, _joined(epochs, EPOCH_COLUMNS), _joined(layers, LAYER_COLUMNS), titles, tuple(unread))


def _by_card(models: dict[str, ModelRecord]) -> Callable[[tuple[str, ModelRecord]], tuple[int, int]]:
    """Return what puts models in order of card and seed, whatever the order in which they were trained."""
    names = dict.fromkeys(record.name.partition(EPOCH)[0] for record in models.values())
    places = {name: place for place, name in enumerate(names)}
    return lambda item: (places[item[1].name.partition(EPOCH)[0]], item[1].seed)


def _joined(frames: list[pd.DataFrame], columns: Iterable[str]) -> pd.DataFrame:
    order = [*MODEL, *columns]
    return pd.concat(frames, ignore_index=True)[order] if frames else pd.DataFrame(columns=order)


def exemptions(record: ModelRecord) -> dict[str, str] | None:
    """Return the contract tests that a model's rule is exempt from, with its reasons, as they were when it was trained.

    Of models of early releases, which did not record them, only the package's own rules are known; None for others.
    """
    recorded = record.metrics.get("exemptions")
    if isinstance(recorded, dict):
        return {str(test): str(reason) for test, reason in recorded.items()}
    rule = RULES.builtin(record.rule)
    return declared_exemptions(rule) if isinstance(rule, type) else None
