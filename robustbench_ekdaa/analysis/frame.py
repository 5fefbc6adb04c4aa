"""The tidy table: one row per (surrogate, target, attack, epsilon), computed from stored outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from ..scoring.outcomes import IMPORTED, CraftingKey, Curve, ModelRecord, Outcomes
from .intervals import wilson_interval
from .metrics import Bools, accuracy, attack_success_rate, common_images, mistake_agreement, transfer_rate
from .standing import compared_targets
from .transfer import Predictions, scored_targets

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
    compared = _compared(outcomes, common)
    clean = [outcomes.clean[key] for key in compared]
    among = common_images(clean, outcomes.labels) if clean else np.zeros(len(outcomes.labels), bool)
    targets = set(scored_targets(outcomes))
    own: dict[tuple[str | None, str], dict[float, Predictions]] = {
        (curve.surrogate, curve.attack): dict(curve.points)
        for curve in outcomes.curves()
        if curve.surrogate == curve.target
    }
    order = {key: place for place, key in enumerate((*outcomes.models, *outcomes.ensembles, IMPORTED))}
    attacks = {key: place for place, key in enumerate(outcomes.attacks)}
    curves = [curve for curve in outcomes.curves() if curve.target in targets]
    curves.sort(
        key=lambda curve: (
            len(order) if curve.surrogate is None else order[curve.surrogate],
            order[curve.target],
            attacks[curve.attack],
        )
    )
    blocks = []
    for curve in curves:
        counted = among if curve.target in compared else None
        blocks.append(_block(outcomes, curve, counted, own.get((curve.surrogate, curve.attack))))
    return _joined(blocks, COLUMNS | EPOCHS if epochs else COLUMNS)


def stopped_on_the_way(outcomes: Outcomes) -> bool:
    """Whether some model is an earlier epoch of its training, so that epochs are worth columns."""
    return any(model.training != key for key, model in outcomes.models.items())


def _compared(outcomes: Outcomes, common: Sequence[str] | None) -> tuple[str, ...]:
    """Return the keys of the models that the common images must be right for."""
    if common is None:
        return compared_targets(outcomes)
    return tuple(key for key in scored_targets(outcomes) if outcomes.models[key].name in common)


def _block(
    outcomes: Outcomes, curve: Curve, among: Bools | None, own: dict[float, Predictions] | None
) -> dict[str, Any]:
    """Return the columns of one curve, E rows; what is the same in every row is a scalar."""
    surrogate, target, attack, points = curve.surrogate, curve.target, curve.attack, curve.points
    labels, clean, predictions = outcomes.labels, outcomes.clean[target], np.stack([part for _, part in points])
    right = (predictions == labels).sum(-1)
    low, high = wilson_interval(right, len(labels))
    undefined = np.full(len(points), np.nan)
    block: dict[str, Any] = {
        "dataset": outcomes.dataset,
        **_model_columns(outcomes, "surrogate", surrogate),
        **_model_columns(outcomes, "target", target),
        "attack": outcomes.attacks[attack].name,
        "norm": outcomes.attacks[attack].norm,
        "epsilon": np.array([epsilon for epsilon, _ in points]),
        "n_images": len(labels),
        "clean_accuracy": float(accuracy(clean, labels)),
        "accuracy": accuracy(predictions, labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "attack_success_rate": attack_success_rate(clean, predictions, labels),
        "attack_success_rate_common": undefined,
        "n_common": pd.NA,
        "transfer_rate": undefined,
        "mistake_agreement": undefined,
        "relation": outcomes.relation(surrogate, target),
    }
    crafted = [outcomes.craftings.get(CraftingKey(surrogate, attack, epsilon), {}) for epsilon, _ in points]
    block |= {name: np.array([facts.get(name, np.nan) for facts in crafted], np.float64) for name in CRAFTING}
    if among is not None:
        block["attack_success_rate_common"] = attack_success_rate(clean, predictions, labels, among)
        block["n_common"] = int(among.sum())
    if surrogate is not None and own is not None:
        nobody = np.full_like(labels, -1)
        fooled = np.stack([own.get(epsilon, nobody) for epsilon, _ in points])
        known = np.array([epsilon in own for epsilon, _ in points])
        rate = transfer_rate(outcomes.clean[surrogate], fooled, clean, predictions, labels)
        block["transfer_rate"] = np.where(known, rate, np.nan)
        block["mistake_agreement"] = np.where(known, mistake_agreement(fooled, predictions, labels), np.nan)
    return block


def _model_columns(outcomes: Outcomes, role: str, key: str | None) -> dict[str, Any]:
    if key is None or key == IMPORTED:
        return {role: key or pd.NA} | {f"{role}_{fact}": pd.NA for fact in ("rule", "seed", "epoch")}
    model = outcomes.record(key)
    epoch = model.metrics.get("epochs") if isinstance(model, ModelRecord) else None
    found = {"rule": model.rule, "seed": model.seed, "epoch": pd.NA if epoch is None else epoch}
    return {role: model.name} | {f"{role}_{fact}": value for fact, value in found.items()}


def _joined(blocks: list[dict[str, Any]], kinds: dict[str, str]) -> pd.DataFrame:
    """Put the blocks' columns under each other, with the same types whatever they hold."""
    columns: dict[str, Any] = {}
    lengths = [len(block["epsilon"]) for block in blocks]
    for name, kind in kinds.items():
        if kind == NUMBER:
            parts = [np.broadcast_to(block[name], length) for block, length in zip(blocks, lengths, strict=True)]
            columns[name] = pd.Series(np.concatenate(parts) if parts else [], dtype=kind)
        else:
            values = [block[name] for block, length in zip(blocks, lengths, strict=True) for _ in range(length)]
            columns[name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)
