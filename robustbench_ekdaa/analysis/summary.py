"""One row per model card: clean accuracy, accuracy under transfer with its interval, area under the curve, eps_50."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..scoring.outcomes import Outcomes
from .frame import NUMBER, TEXT, WHOLE
from .intervals import keyed, percentile_interval
from .metrics import Floats, accuracy, area_under_curve, eps_50, robust_accuracy
from .transfer import TransferGrid, card_names, noise_attacks, transfer_grids

ONE_SEED = "one seed: no claim"


@dataclass
class SummaryRow:
    """What a run says about one model card on one data set under one norm; see `Results.summary`."""

    dataset: str
    model: str
    title: str
    rule: str
    norm: str | None
    status: str
    n_images: int
    n_seeds: int
    clean_accuracy: float = np.nan
    clean_accuracy_sd: float = np.nan
    epsilon: float = np.nan
    transfer_accuracy: float = np.nan
    transfer_accuracy_low: float = np.nan
    transfer_accuracy_high: float = np.nan
    transfer_accuracy_sd: float = np.nan
    noise_accuracy: float = np.nan
    area: float = np.nan
    area_relative: float = np.nan
    eps_50: float = np.nan
    eps_max: float = np.nan
    note: str = ""


TYPES = {"str": TEXT, "str | None": TEXT, "int": WHOLE, "float": NUMBER}


def summary_frame(rows: Sequence[SummaryRow]) -> pd.DataFrame:
    """Put rows into a frame whose types do not depend on what they hold."""
    return pd.DataFrame(
        {
            item.name: pd.Series([getattr(row, item.name) for row in rows], dtype=TYPES[str(item.type)])
            for item in fields(SummaryRow)
        }
    )


def summary_rows(outcomes: Outcomes, epsilon: float | None = None) -> list[SummaryRow]:
    """Return one data set's rows: norm by norm, target cards in the sweep's order."""
    cards = card_names(outcomes, outcomes.targets)
    grids: list[TransferGrid | None] = [*transfer_grids(outcomes)] or [None]
    return [row for grid in grids for row in _norm_rows(outcomes, cards, grid, epsilon)]


def reference_epsilon(epsilons: Sequence[float], wanted: float | None = None) -> float:
    """Return the wanted epsilon of a grid, or the one nearest to half of the largest (the smaller of two as near).

    Raises:
        UsageError: if the wanted one is not in the grid.

    >>> reference_epsilon([0, 0.1, 0.2, 0.3])
    0.1
    """
    sizes = [epsilon for epsilon in epsilons if epsilon > 0]
    if wanted is None:
        middle = max(sizes, default=float("nan")) / 2
        return min(sizes, key=lambda epsilon: (round(abs(epsilon - middle), 9), epsilon), default=float("nan"))
    for epsilon in sizes:
        if np.isclose(epsilon, wanted, rtol=1e-6, atol=0):
            return epsilon
    known = ", ".join(f"{epsilon:g}" for epsilon in sizes) or "none"
    raise UsageError(f"epsilon {wanted:g} was not scored with every attack. Choose one of {known}.")


def _norm_rows(
    outcomes: Outcomes, cards: Sequence[str], grid: TransferGrid | None, epsilon: float | None
) -> list[SummaryRow]:
    rows = [_clean_row(outcomes, card, grid.norm if grid else None) for card in cards]
    if grid is None:
        return rows
    chosen = reference_epsilon(grid.epsilons, epsilon)
    by_card = {row.model: row for row in rows}
    curves, accuracies = grid.curve(), grid.target_accuracy()
    drawn = grid.replicates(chosen, keyed("summary", outcomes.dataset, grid.norm)) if chosen > 0 else None
    for column, card in enumerate(grid.cards):
        row, curve = by_card[card], curves[:, column]
        row.eps_max = grid.epsilons[-1]
        row.note = "; ".join(part for part in (row.note, *_remarks(grid, card)) if part)
        if drawn is None:
            continue
        place = grid.epsilons.index(chosen)
        own = [j for j, key in enumerate(grid.targets) if outcomes.models[key].name == card]
        row.epsilon, row.transfer_accuracy = chosen, float(curve[place])
        row.transfer_accuracy_low, row.transfer_accuracy_high = percentile_interval(drawn[:, column])
        row.transfer_accuracy_sd = spread(accuracies[place, own])
        row.area = float(area_under_curve(grid.epsilons, curve))
        row.area_relative = float(area_under_curve(grid.epsilons, curve, relative=True))
        row.eps_50 = eps_50(grid.epsilons, curve)
        row.noise_accuracy = noise_accuracy(outcomes, [grid.targets[j] for j in own], grid.norm, chosen)
    return rows


def _clean_row(outcomes: Outcomes, card: str, norm: str | None) -> SummaryRow:
    """Return a card's row with what the clean images alone say."""
    keys = [key for key in outcomes.targets if outcomes.models[key].name == card]
    trained = [key for key in keys if outcomes.models[key].status == "trained"]
    first, failures = outcomes.models[keys[0]], len(keys) - len(trained)
    row = SummaryRow(
        outcomes.dataset,
        card,
        first.title or card,
        first.rule,
        norm,
        "trained" if trained else "failed",
        len(outcomes.labels),
        len(trained),
    )
    seen = [float(accuracy(outcomes.clean[key], outcomes.labels)) for key in trained if key in outcomes.clean]
    row.clean_accuracy, row.clean_accuracy_sd = float(np.mean(seen)) if seen else np.nan, spread(seen)
    notes = []
    if failures and trained:
        notes.append(f"{failures} of {len(keys)} seeds failed")
    if len(trained) == 1:
        notes.append(ONE_SEED)
    if not trained:
        notes.append("failed in training")
    row.note = "; ".join(notes)
    return row


def _remarks(grid: TransferGrid, card: str) -> list[str]:
    """Say what keeps a card's numbers from being what they are meant to be."""
    own = [j for j, key in enumerate(grid.targets) if grid.outcomes.models[key].name == card]
    cards, counted = grid.attackers.cards, grid.attackers.counted
    seen = {cards[i] for i in np.flatnonzero(counted[:, own].any(1))}
    if not seen:
        return ["no other model attacked it"]
    # A card with one seed can only attack itself as white-box.
    names = [name for name in dict.fromkeys(cards) if name != card or len(own) > 1]
    absent = [name for name in names if name not in seen]
    remarks = [f"not attacked from {', '.join(absent)}"] if absent else []
    if not grid.attacks or len(grid.epsilons) == 1:
        remarks.append("unfinished sweep: no epsilon has all attacks")
    return remarks


def noise_accuracy(outcomes: Outcomes, targets: Sequence[str], norm: str, epsilon: float) -> float:
    """Return the mean accuracy of targets under noise of one norm and size (several noises: their worst case).

    NaN when there is none, or it was not scored on all the targets.
    """
    attacks = [key for key in noise_attacks(outcomes) if outcomes.attacks[key].norm == norm]
    said = {
        (cell.target, cell.attack): cell.predictions
        for cell in outcomes.cells
        if cell.surrogate is None and cell.epsilon == epsilon
    }
    if not attacks or not all((target, attack) in said for target in targets for attack in attacks):
        return float("nan")
    if len(attacks) == 1:
        return float(np.mean([accuracy(said[target, attacks[0]], outcomes.labels) for target in targets]))
    worst = [
        robust_accuracy(outcomes.clean[key], [said[key, attack] for attack in attacks], outcomes.labels)
        for key in targets
    ]
    return float(np.mean(worst))


def spread(values: Sequence[float] | Floats) -> float:
    """Return the standard deviation over training seeds (n - 1 below); NaN for fewer than two.

    >>> round(spread([0.8, 0.9, 1.0]), 6)
    0.1
    """
    defined = np.asarray(values, np.float64)
    defined = defined[~np.isnan(defined)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan")


def status_of(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Return every model with its seed, clean accuracy on the sweep's images, and status, as plain data."""
    rows = []
    for key, model in outcomes.models.items():
        said = outcomes.clean.get(key)
        rows.append(
            {
                "model": model.name,
                "title": model.title or model.name,
                "rule": model.rule,
                "seed": model.seed,
                "status": model.status,
                "error": model.error,
                "clean_accuracy": float("nan") if said is None else float(accuracy(said, outcomes.labels)),
                "roles": [
                    role
                    for role, keys in (("surrogate", outcomes.surrogates), ("target", outcomes.targets))
                    if key in keys
                ],
            }
        )
    return rows
