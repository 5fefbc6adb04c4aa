"""The tidy table: one row per (surrogate, target, attack, epsilon), computed from stored outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..storing.bits import how_many
from ..storing.keys import IMPORTED, CraftingKey
from ..storing.outcomes import ModelRecord, Outcomes
from .counting import CountedRows, Counting
from .intervals import wilson_interval
from .metrics import Floats, ratio
from .standing import compared_targets
from .transfer import scored_targets

TEXT, WHOLE, NUMBER = "string", "Int64", "float64"
FIELD_TYPES = {"str": TEXT, "str | None": TEXT, "int": WHOLE, "float": NUMBER}
CRAFTING = ("zero_gradient_share", "queries", "median_norm")  # columns about the crafting, whoever the target is
COLUMNS = {
    "dataset": TEXT,
    "surrogate": TEXT,
    "surrogate_rule": TEXT,
    "surrogate_seed": WHOLE,
    "target": TEXT,
    "target_rule": TEXT,
    "target_seed": WHOLE,
    "attack": TEXT,
    "norm": TEXT,
    "epsilon": NUMBER,
    "n_images": WHOLE,
    "clean_accuracy": NUMBER,
    "accuracy": NUMBER,
    "accuracy_low": NUMBER,
    "accuracy_high": NUMBER,
    "attack_success_rate": NUMBER,
    "attack_success_rate_common": NUMBER,
    "n_common": WHOLE,
    "transfer_rate": NUMBER,
    "mistake_agreement": NUMBER,
    "zero_gradient_share": NUMBER,
    "queries": NUMBER,
    "median_norm": NUMBER,
    "relation": TEXT,
}
EPOCHS = {"surrogate_epoch": WHOLE, "target_epoch": WHOLE}  # columns of runs with models that stopped on the way


def rows_frame(kind: Any, rows: Sequence[object]) -> pd.DataFrame:
    """Put instances of a dataclass into a frame whose types do not depend on what they hold."""
    return pd.DataFrame(
        {
            item.name: pd.Series([getattr(row, item.name) for row in rows], dtype=FIELD_TYPES[str(item.type)])
            for item in fields(kind)
        }
    )


def tidy_frame(outcomes: Outcomes, common: Sequence[str] | None = None, *, epochs: bool = False) -> pd.DataFrame:
    """Return one data set's tidy rows; see `Results.frame`."""
    counting = Counting(outcomes, _compared(outcomes, common))
    columns = COLUMNS | EPOCHS if epochs else COLUMNS
    return _named(outcomes, counting.rows(), int(how_many(counting.among)), columns)


def stopped_on_the_way(outcomes: Outcomes) -> bool:
    """Whether some model is an earlier epoch of its training, so that epochs are worth columns."""
    return any(model.training != key for key, model in outcomes.models.items())


def _compared(outcomes: Outcomes, common: Sequence[str] | None) -> tuple[str, ...]:
    """Return the keys of the models that the common images must be right for."""
    if common is None:
        return compared_targets(outcomes)
    return tuple(key for key in scored_targets(outcomes) if outcomes.models[key].name in common)


def _named(outcomes: Outcomes, rows: CountedRows, among: int, kinds: dict[str, str]) -> pd.DataFrame:
    """Turn counts into the table's columns."""
    keys: list[str | None] = [*outcomes.models, *outcomes.ensembles, IMPORTED, None]
    attacks, images = [*outcomes.attacks], len(outcomes.labels)
    right = [(outcomes.clean[key] == outcomes.labels).sum() if key in outcomes.clean else 0 for key in outcomes.models]
    before = np.array(right or [0])[rows.target]
    low, high = wilson_interval(rows.right, images)
    common = np.where(rows.common < 0, np.nan, rows.common)
    columns: dict[str, Any] = {
        "dataset": _repeated([outcomes.dataset], np.zeros(len(rows.target), np.int64)),
        **_model_columns(outcomes, "surrogate", keys, rows.surrogate),
        **_model_columns(outcomes, "target", keys, rows.target),
        "attack": _repeated([outcomes.attacks[key].name for key in attacks], rows.attack),
        "norm": _repeated([outcomes.attacks[key].norm for key in attacks], rows.attack),
        "epsilon": rows.epsilon,
        "n_images": np.full(len(rows.target), images),
        "clean_accuracy": ratio(before, images),
        "accuracy": ratio(rows.right, images),
        "accuracy_low": low,
        "accuracy_high": high,
        "attack_success_rate": ratio(rows.fooled, before),
        "attack_success_rate_common": ratio(common, among),
        "n_common": _whole(np.where(rows.common < 0, -1, among)),
        "transfer_rate": np.where(rows.open < 0, np.nan, ratio(rows.passed_on, rows.open)),
        "mistake_agreement": np.where(rows.open < 0, np.nan, ratio(rows.agreeing, rows.both)),
        **_crafting_columns(outcomes, rows, keys, attacks),
        "relation": _relations(outcomes, rows, keys),
    }
    # Each column is let go once it is in the frame: a million rows of text are large.
    return pd.DataFrame({name: pd.Series(columns.pop(name), dtype=kind) for name, kind in kinds.items()}, copy=False)


def _repeated(texts: Sequence[str | None], places: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.array([pd.NA if text is None else text for text in texts] or [pd.NA], dtype=object)[places]


def _whole(numbers: NDArray[np.int64]) -> Any:
    """Return whole numbers; those below 0 stand for missing values."""
    return pd.arrays.IntegerArray(numbers.astype(np.int64), numbers < 0)


def _model_columns(
    outcomes: Outcomes, role: str, keys: Sequence[str | None], places: NDArray[np.int64]
) -> dict[str, Any]:
    known = [None if key is None or key == IMPORTED else outcomes.record(key) for key in keys]
    names: list[str | None] = [one.name if one else key for key, one in zip(keys, known, strict=True)]
    epochs = [one.metrics.get("epochs") if isinstance(one, ModelRecord) else None for one in known]
    return {
        role: _repeated(names, places),
        f"{role}_rule": _repeated([one.rule if one else None for one in known], places),
        f"{role}_seed": _whole(np.array([-1 if one is None else one.seed for one in known])[places]),
        f"{role}_epoch": _whole(np.array([-1 if epoch is None else epoch for epoch in epochs])[places]),
    }


def _crafting_columns(
    outcomes: Outcomes, rows: CountedRows, keys: Sequence[str | None], attacks: Sequence[str]
) -> dict[str, Floats]:
    """Return what is known of the craftings, row by row."""
    epsilons, columns = np.unique(rows.epsilon, return_inverse=True)
    codes = (rows.surrogate * len(attacks) + rows.attack) * max(len(epsilons), 1) + columns
    found, rows_of = np.unique(codes, return_inverse=True)
    facts = []
    for code in found.tolist():
        place, column = divmod(code, len(epsilons))
        surrogate, attack = divmod(place, len(attacks))
        crafting = CraftingKey(keys[surrogate], attacks[attack], float(epsilons[column]))
        facts.append(outcomes.craftings.get(crafting, {}))
    return {
        name: np.array([one.get(name, np.nan) for one in facts] or [np.nan], np.float64)[rows_of] for name in CRAFTING
    }


def _relations(outcomes: Outcomes, rows: CountedRows, keys: Sequence[str | None]) -> NDArray[np.object_]:
    pairs, places = np.unique(rows.surrogate * max(len(outcomes.models), 1) + rows.target, return_inverse=True)
    models = [*outcomes.models]
    named = [outcomes.relation(keys[code // len(models)], models[code % len(models)]) for code in pairs.tolist()]
    return _repeated(named, places)
