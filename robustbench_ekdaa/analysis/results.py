"""All results of a run: the tidy frame, the summary per model card, and the curves that figures draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import unknown_name
from ..scoring.outcomes import Outcomes
from .frame import NUMBER, TEXT, WHOLE, tidy_frame
from .metrics import accuracy
from .summary import summary_frame, summary_rows
from .transfer import TransferGrid, card_names, noise_attacks, scored_targets, transfer_grids

WORST_CASE = "worst case"
CURVE_COLUMNS = {
    "dataset": TEXT,
    "norm": TEXT,
    "attack": TEXT,
    "model": TEXT,
    "rule": TEXT,
    "seed": WHOLE,
    "epsilon": NUMBER,
    "accuracy": NUMBER,
}


class Results:
    """What a run found, one `Outcomes` per data set; nothing here runs a model."""

    def __init__(self, outcomes: Sequence[Outcomes]) -> None:
        self.outcomes = list(outcomes)

    @property
    def datasets(self) -> list[str]:
        """The data sets' names."""
        return [one.dataset for one in self.outcomes]

    def on(self, dataset: str) -> Outcomes:
        """Return the outcomes on one data set; raises UsageError for a name that is not there."""
        for one in self.outcomes:
            if one.dataset == dataset:
                return one
        raise unknown_name("data set in these results", dataset, self.datasets)

    def frame(self, common: Sequence[str] | None = None) -> pd.DataFrame:
        """Return all outcomes as tidy rows: one per (data set, surrogate, target, attack, epsilon).

        Every curve starts with a row at epsilon 0, the clean images. Undefined shares are NaN. Noise has no
        surrogate: its three columns are missing values. `accuracy_low` and `accuracy_high` are Wilson's 95 %
        interval over images. `transfer_rate` and `mistake_agreement` need what the surrogate itself said of the
        adversarial images: NaN where it was not a target too.

        Args:
            common: names of the model cards that are compared: `attack_success_rate_common` is over the images that
                all their models classify correctly, and NaN for other cards (default: all targets).

        Raises:
            UsageError: if `common` names a card that was not scored.
        """
        names = {name for one in self.outcomes for name in card_names(one, scored_targets(one))}
        for name in common or ():
            if name not in names:
                raise unknown_name("model", name, names)
        frames = [tidy_frame(one, common) for one in self.outcomes]
        return pd.concat(frames, ignore_index=True)

    def summary(self, epsilon: float | None = None) -> pd.DataFrame:
        """Return one row per (data set, norm, target model card).

        `transfer_accuracy` is transfer robust accuracy: per (surrogate, target) pair, the share of images that are
        right before and under every gradient attack at `epsilon` (worst case per image; noise is no such attack);
        averaged over surrogates so that every surrogate card weighs the same, without white-box pairs and without
        pairs that started from the same weights (unless a card has no other seed); then over the target's training
        seeds. `..._low` and `..._high` are its 95 % interval by a bootstrap over images and training seeds (with one
        seed: over images alone, and `note` says so), `..._sd` its spread over target seeds. `area` and `eps_50` belong
        to the curve of the same quantity over all epsilons: the area under it divided by the largest epsilon
        (`area_relative`: and by clean accuracy), and where it first falls to half of clean accuracy (infinite: not up
        to `eps_max`). Failed models are listed and enter no mean.

        Args:
            epsilon: the size to state accuracies at (default: the one nearest to half of the largest).

        Raises:
            UsageError: if `epsilon` was not scored.
        """
        return summary_frame([row for one in self.outcomes for row in summary_rows(one, epsilon)])

    def curves(self) -> pd.DataFrame:
        """Return accuracy against epsilon as one row per (data set, norm, attack, target model, epsilon).

        Each is the mean over surrogates as in `summary`; `attack` is an attack's name, or "worst case". Noise comes
        last of its norm.
        """
        return pd.concat([curve_frame(one) for one in self.outcomes], ignore_index=True)


def curve_frame(outcomes: Outcomes) -> pd.DataFrame:
    """Return one data set's curves; see `Results.curves`."""
    rows: list[dict[str, Any]] = []
    for grid in transfer_grids(outcomes):
        names = {key: outcomes.attacks[key].name for key in grid.attacks}
        for attack in (*grid.attacks, None):
            values = grid.target_accuracy(attack)
            rows += _curve_rows(outcomes, grid, names[attack] if attack else WORST_CASE, values)
    rows += _noise_rows(outcomes)
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in CURVE_COLUMNS.items()}
    )


def _curve_rows(outcomes: Outcomes, grid: TransferGrid, attack: str, values: Any) -> list[dict[str, Any]]:
    return [
        _point(outcomes, grid.norm, attack, target, epsilon, float(values[i, j]))
        for j, target in enumerate(grid.targets)
        for i, epsilon in enumerate(grid.epsilons)
        if not np.isnan(values[i, j])
    ]


def _noise_rows(outcomes: Outcomes) -> list[dict[str, Any]]:
    targets, noises = scored_targets(outcomes), noise_attacks(outcomes)
    return [
        _point(
            outcomes,
            outcomes.attacks[attack].norm,
            outcomes.attacks[attack].name,
            target,
            epsilon,
            float(accuracy(said, outcomes.labels)),
        )
        for surrogate, target, attack, points in outcomes.curves()
        if surrogate is None and attack in noises and target in targets
        for epsilon, said in points
    ]


def _point(outcomes: Outcomes, norm: str, attack: str, target: str, epsilon: float, accuracy: float) -> dict[str, Any]:
    model = outcomes.models[target]
    return {
        "dataset": outcomes.dataset,
        "norm": norm,
        "attack": attack,
        "model": model.name,
        "rule": model.rule,
        "seed": model.seed,
        "epsilon": epsilon,
        "accuracy": accuracy,
    }
