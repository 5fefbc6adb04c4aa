"""One row per model card: clean accuracy, accuracy under transfer with its interval, area under the curve, eps_50."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cards.epsilons import read_epsilon
from ..errors import UsageError
from ..storing.outcomes import Outcomes
from .card_intervals import card_intervals, noise_accuracy
from .intervals import is_narrow
from .metrics import Floats, accuracy, area_under_curve, common_images, eps_50
from .standing import NOT_RANKED, Standing, compared_targets, standings
from .transfer import TransferGrid, card_names, transfer_grids

ONE_SEED = "one seed: no claim"
FOOLED = "fooled, of common images"  # how a table calls the attack success rate over the common images


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
    standing: str = NOT_RANKED
    clean_accuracy: float = np.nan
    clean_accuracy_sd: float = np.nan
    epsilon: float = np.nan
    transfer_accuracy: float = np.nan
    transfer_accuracy_low: float = np.nan
    transfer_accuracy_high: float = np.nan
    transfer_accuracy_sd: float = np.nan
    interval: str | None = None
    attack_success_rate_common: float = np.nan
    attack_success_rate_common_low: float = np.nan
    attack_success_rate_common_high: float = np.nan
    n_common: int = 0
    noise_accuracy: float = np.nan
    noise_accuracy_low: float = np.nan
    noise_accuracy_high: float = np.nan
    white_box_accuracy: float = np.nan
    white_box_accuracy_low: float = np.nan
    white_box_accuracy_high: float = np.nan
    area: float = np.nan
    area_low: float = np.nan
    area_high: float = np.nan
    area_relative: float = np.nan
    area_relative_low: float = np.nan
    area_relative_high: float = np.nan
    eps_50: float = np.nan
    eps_50_low: float = np.nan
    eps_50_high: float = np.nan
    eps_max: float = np.nan
    note: str | None = None


IMAGES_AND_SEEDS, WILSON = "images and seeds", "at least Wilson's"  # what an interval comes from


def summary_rows(outcomes: Outcomes, epsilon: float | None = None) -> tuple[SummaryRow, ...]:
    """Return one data set's rows: norm by norm, target cards in the sweep's order, which is no ranking."""
    place = f"summary at {epsilon}"
    if place not in outcomes.derived:
        outcomes.derived[place] = _summary_rows(outcomes, epsilon)
    rows: tuple[SummaryRow, ...] = outcomes.derived[place]
    return rows


def _summary_rows(outcomes: Outcomes, epsilon: float | None) -> tuple[SummaryRow, ...]:
    cards, known = card_names(outcomes, outcomes.targets), standings(outcomes)
    grids: list[TransferGrid | None] = [*transfer_grids(outcomes)] or [None]
    return tuple(
        row
        for grid in grids
        for row in _norm_rows(
            outcomes, [_clean_row(outcomes, card, grid, known.get(card)) for card in cards], grid, epsilon
        )
    )


def reference_epsilon(epsilons: Sequence[float], wanted: object = None) -> float:
    """Return the wanted epsilon of a grid, or the one nearest to half of the largest (the smaller of two as near).

    Args:
        epsilons: the grid's, ascending.
        wanted: any number or text that `read_epsilon` takes.

    Raises:
        UsageError: if the wanted one is not in the grid, or no epsilon.

    >>> reference_epsilon([0, 0.1, 0.2, 0.3])
    0.1
    """
    attacked = [epsilon for epsilon in epsilons if epsilon > 0]
    if wanted is None:
        middle = max(attacked, default=float("nan")) / 2
        return min(attacked, key=lambda epsilon: (round(abs(epsilon - middle), 9), epsilon), default=float("nan"))
    asked = read_epsilon(wanted)
    for epsilon in attacked:
        if np.isclose(epsilon, asked, rtol=1e-6, atol=0):
            return epsilon
    known = ", ".join(f"{epsilon:g}" for epsilon in attacked) or "none"
    raise UsageError(f"epsilon {asked:g} was not scored with every attack. Choose one of {known}.")


def chosen_epsilon(grid: TransferGrid, wanted: object = None) -> float:
    """Return the epsilon at which a grid's cards are compared.

    It is the wanted one; else the one that the sweep declares as `verdict_epsilon`, if all attacks are finished at it;
    else `reference_epsilon`'s; NaN where no epsilon has all attacks.

    Raises:
        UsageError: if the wanted one is not in the grid, or no epsilon.
    """
    declared = declared_epsilon(grid)
    return reference_epsilon(grid.epsilons, wanted) if wanted is not None or declared is None else declared


def declared_epsilon(grid: TransferGrid) -> float | None:
    """Return the epsilon that the sweep declares for a grid's norm; None if it declares none that is finished."""
    declared = grid.outcomes.spec.get("verdict_epsilon") or {}
    epsilon: float | None = declared.get(grid.norm)
    return epsilon if epsilon in grid.epsilons else None


def _norm_rows(
    outcomes: Outcomes, rows: list[SummaryRow], grid: TransferGrid | None, epsilon: float | None
) -> list[SummaryRow]:
    """Fill rows in with what one norm's attacks say."""
    if grid is None:
        return rows
    chosen = chosen_epsilon(grid, epsilon)
    by_card = {row.model: row for row in rows}
    for card in grid.cards:
        row = by_card[card]
        row.eps_max = grid.epsilons[-1]
        row.note = "; ".join(part for part in (row.note, *_remarks(grid, card)) if part) or None
    if chosen > 0:
        _add_transfer(grid, chosen, by_card)
        _add_common(grid, chosen, by_card)
        _add_intervals(grid, chosen, by_card)
    return rows


def _add_transfer(grid: TransferGrid, chosen: float, rows: Mapping[str, SummaryRow]) -> None:
    """Add accuracy under transferred attacks at the chosen epsilon, and what its curve says."""
    outcomes, curves, accuracies = grid.outcomes, grid.curve(), grid.target_accuracy()
    place = grid.epsilons.index(chosen)
    for column, card in enumerate(grid.cards):
        row, curve = rows[card], curves[:, column]
        own = [j for j, key in enumerate(grid.targets) if outcomes.models[key].name == card]
        row.epsilon, row.transfer_accuracy = chosen, float(curve[place])
        row.transfer_accuracy_sd = spread(accuracies[place, own])
        row.area = float(area_under_curve(grid.epsilons, curve))
        row.area_relative = float(area_under_curve(grid.epsilons, curve, relative=True))
        row.eps_50 = eps_50(grid.epsilons, curve)
        keys = [grid.targets[j] for j in own]
        row.noise_accuracy, ends = noise_accuracy(outcomes, keys, grid.norm, chosen)
        row.noise_accuracy_low, row.noise_accuracy_high = ends


def _add_common(grid: TransferGrid, chosen: float, rows: Mapping[str, SummaryRow]) -> None:
    """Add the attack success rate over the images that all compared models get right when clean."""
    outcomes, compared = grid.outcomes, compared_targets(grid.outcomes)
    if not compared:
        return
    among = common_images([outcomes.clean[key] for key in compared], outcomes.labels)
    rates = grid.success_among(chosen, among)
    for card, rate in zip(grid.cards, rates, strict=True):
        if card in card_names(outcomes, compared):
            rows[card].attack_success_rate_common, rows[card].n_common = float(rate), int(among.sum())


def _add_intervals(grid: TransferGrid, chosen: float, rows: Mapping[str, SummaryRow]) -> None:
    """Add the intervals of what is there by now, and accuracy under white-box attacks with its own."""
    compared, images = card_names(grid.outcomes, compared_targets(grid.outcomes)), len(grid.outcomes.labels)
    for card, found in card_intervals(grid, chosen, compared).items():
        row = rows[card]
        row.transfer_accuracy_low, row.transfer_accuracy_high = found.accuracy
        row.interval = WILSON if is_narrow(*found.accuracy, row.transfer_accuracy, images) else IMAGES_AND_SEEDS
        row.area_low, row.area_high = found.area
        row.area_relative_low, row.area_relative_high = found.area_relative
        row.eps_50_low, row.eps_50_high = found.eps_50
        row.attack_success_rate_common_low, row.attack_success_rate_common_high = found.success
        row.white_box_accuracy = found.white_box_accuracy
        row.white_box_accuracy_low, row.white_box_accuracy_high = found.white_box


def _clean_row(outcomes: Outcomes, card: str, grid: TransferGrid | None, standing: Standing | None) -> SummaryRow:
    """Return a card's row with what the clean images alone say."""
    keys = [key for key in outcomes.targets if outcomes.models[key].name == card]
    trained = [key for key in keys if outcomes.models[key].status == "trained"]
    first, failures = outcomes.models[keys[0]], len(keys) - len(trained)
    row = SummaryRow(
        outcomes.dataset,
        card,
        first.title or card,
        first.rule,
        grid.norm if grid else None,
        "trained" if trained else "failed",
        len(outcomes.labels),
        len(trained),
        standing.kind if standing else NOT_RANKED,
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
    if standing and standing.reason:
        notes.append(standing.reason)
    row.note = "; ".join(notes) or None
    return row


def _remarks(grid: TransferGrid, card: str) -> list[str]:
    """Return warnings about a card's numbers."""
    own = [j for j, key in enumerate(grid.targets) if grid.outcomes.models[key].name == card]
    cards, counted = grid.pairs.cards, grid.pairs.counted
    seen = {cards[i] for i in np.flatnonzero(counted[:, own].any(1))}
    if not seen:
        return ["no other model attacked it"]
    # A card with one seed can only attack itself as white-box, and another epoch of it only the same training.
    training = {key: model.training for key, model in grid.outcomes.models.items()}
    able = [any(training[holder] != training[grid.targets[j]] for j in own) for holder in grid.holders]
    names = dict.fromkeys(name for name, outside in zip(cards, able, strict=True) if outside)
    absent = [name for name in names if name not in seen]
    remarks = [f"not attacked from {', '.join(absent)}"] if absent else []
    if not grid.attacks or len(grid.epsilons) == 1:
        remarks.append("unfinished sweep: no epsilon has all attacks")
    return remarks


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
        clean = outcomes.clean.get(key)
        rows.append(
            {
                "model": model.name,
                "title": model.title or model.name,
                "rule": model.rule,
                "seed": model.seed,
                "status": model.status,
                "error": model.error,
                "clean_accuracy": float("nan") if clean is None else float(accuracy(clean, outcomes.labels)),
                "roles": [
                    role
                    for role, keys in (("surrogate", outcomes.surrogates), ("target", outcomes.targets))
                    if key in keys
                ],
            }
        )
    return rows
