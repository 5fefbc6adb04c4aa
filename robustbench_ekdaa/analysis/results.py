"""All results of a run: the tidy frame, the summary per model card, and the curves that figures draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UsageError, unknown_name
from ..names import as_spelled
from ..storing.bits import how_many
from ..storing.outcomes import Outcomes
from .arena import white_box_accuracy
from .checks import ORDER, Finding, findings
from .comparison import Comparison
from .fooled import FooledRow, fooled_rows
from .frame import NUMBER, TEXT, WHOLE, rows_frame, stopped_on_the_way, tidy_frame
from .metrics import accuracy
from .optimality import OptimalityRow, optimality_rows
from .summary import SummaryRow, summary_rows
from .transfer import (
    KNOWN,
    TransferGrid,
    card_names,
    imported_attacks,
    noise_attacks,
    scored_targets,
    transfer_grids,
)
from .verdict import Verdict

WORST_CASE, WHITE_BOX = "worst case", "white-box"
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

    @property
    def cards(self) -> list[str]:
        """The names of all model cards, surrogates and targets."""
        return list(dict.fromkeys(record.name for one in self.outcomes for record in one.models.values()))

    def on(self, dataset: str) -> Outcomes:
        """Return the outcomes on one data set.

        Args:
            dataset: the data set's name.

        Raises:
            UsageError: for a name that is not there.
        """
        dataset = as_spelled("data set", dataset, self.datasets)
        for one in self.outcomes:
            if one.dataset == dataset:
                return one
        raise unknown_name("data set in these results", dataset, self.datasets)

    def frame(self, common: Sequence[str] | None = None) -> pd.DataFrame:
        """Return all outcomes as tidy rows: one per (data set, surrogate, target, attack, epsilon).

        Every curve starts with a row at epsilon 0, the clean images. Undefined shares are NaN. Noise has no
        surrogate: its three columns are missing values. An ensemble is called by its members' names, joined by "+";
        images from a file that tells of no model of this run are said to be crafted on "imported", and their relation
        to the target is "unknown". `accuracy_low` and `accuracy_high` are Wilson's 95 % interval over images.
        `transfer_rate` and `mistake_agreement` need what the surrogate itself predicted for the adversarial images: NaN
        where it was not a target too, and for ensembles.

        Three columns are about the crafting, and NaN where they mean nothing and at epsilon 0: `zero_gradient_share`,
        of the images those whose every gradient was exactly zero, so that the attack had nothing to follow; `queries`,
        how often an image was shown to the surrogate on average, for attacks of other libraries; `median_norm`, the
        median of the smallest perturbations that a minimal-norm attack found (0 for images that the surrogate gets
        wrong anyway, infinite where it found none).

        Where a model is an earlier epoch of its training (``ekdaa#3``), `surrogate_epoch` and `target_epoch` come last:
        after how many epochs each model was taken, a missing value where nobody knows. The relation of two epochs of
        one training is "same-training", and no mean over surrogates counts it.

        Args:
            common: names of the model cards that are compared: `attack_success_rate_common` is over the images that
                all their models classify correctly, and NaN for other cards (default: ranked cards and controls; see
                `summary`).

        Raises:
            UsageError: if `common` names a card that was not scored.
        """
        names = {name for one in self.outcomes for name in card_names(one, scored_targets(one))}
        common = None if common is None else [as_spelled("model", name, names) for name in common]
        for name in common or ():
            if name not in names:
                raise unknown_name("model", name, names)
        epochs = any(map(stopped_on_the_way, self.outcomes))
        frames = [tidy_frame(one, common, epochs=epochs) for one in self.outcomes]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)  # which would copy it

    def summary(self, epsilon: float | None = None) -> pd.DataFrame:
        """Return one row per (data set, norm, target model card).

        `transfer_accuracy` is transfer robust accuracy: per (surrogate, target) pair, the share of images that are
        right before and under every gradient attack at `epsilon` that was crafted on the surrogate, or on an ensemble
        it belongs to that does not hold the target (worst case per image; noise is no such attack, nor are imported
        images); averaged over surrogates so that every surrogate card weighs the same, without white-box pairs, other
        epochs of the target's training, and pairs that started from the same weights (unless a card has no other seed);
        then over the target's training seeds. `..._low` and `..._high` are the 95 % interval over images and training
        seeds (see `analysis.intervals`; with one seed: over images alone, and `note` says so), where `interval` is "at
        least Wilson's" widened to Wilson's: with fewer than 100 images, and at fewer than 5 right or wrong ones.
        `..._sd` is its spread over target seeds. `area` and `eps_50` belong to the curve of the same quantity over all
        epsilons: the area under it divided by the largest epsilon (`area_relative`: and by clean accuracy), and where
        it first falls to half of clean accuracy (infinite: not up to `eps_max`). `attack_success_rate_common` is the
        share of the `n_common` images that all compared models get right when clean, and this card no longer does under
        all attacks, averaged likewise. `white_box_accuracy` is accuracy before and under all gradient attacks on the
        target itself, `noise_accuracy` that under noise of the same size. All of them have intervals of the same kind.
        Failed models are listed and enter no mean.

        Rows stand in the sweep's order: nothing is ranked here. `standing` is "ranked" for cards that may be: their
        clean accuracy beats chance and every frozen control of their network in the run, by a one-sided 95 % bound over
        images and seeds. It is "control" for frozen cards, and "not ranked" for the rest; `note` says why. Ranked cards
        and controls are the ones compared.

        Args:
            epsilon: where to state accuracies (default: the one that the sweep declares as `verdict_epsilon`, else the
                one nearest to half of the largest).

        Raises:
            UsageError: if `epsilon` was not scored.
        """
        return rows_frame(SummaryRow, [row for one in self.outcomes for row in summary_rows(one, epsilon)])

    def who_is_fooled(self, epsilon: float | None = None) -> pd.DataFrame:
        """Return who is fooled by whom: what each target card keeps of the attacks from each surrogate card.

        One row per (data set, norm, target card, place that attacks come from). `attacks_from` is "card" or "foreign
        card" (of an architecture that no target has) where one card's models were attacked on, which `surrogate` names;
        "mean over cards", which is the summary's `transfer_accuracy`; or "white-box", attacks on the target itself, the
        summary's `white_box_accuracy`. In the last two `surrogate` is a missing value.

        `accuracy` is the share of images that are right before and under all gradient attacks from there (worst case
        per image), averaged over the same pairs of models as in `summary`: no model attacks itself, another epoch of
        its training, or a model of its start while its card has other seeds. `accuracy_low` and `accuracy_high` are its
        95 % interval over images and training seeds. `attack_success_rate_common`, with its interval, is the share
        turned wrong of the `n_common` images that all compared models get right when clean; NaN for cards that are not
        compared. `n_seeds` counts the target's models, `n_surrogates` the models attacked on. Where nothing was scored,
        numbers are NaN and counts 0. `standing` is the target's, as in `summary`. Rows stand in the sweep's order,
        foreign cards after others: nothing is ranked here.

        Args:
            epsilon: where to state accuracies (default: the one that the sweep declares as `verdict_epsilon`, else the
                one nearest to half of the largest).

        Raises:
            UsageError: if `epsilon` was not scored.
        """
        return rows_frame(FooledRow, [row for one in self.outcomes for row in fooled_rows(one, epsilon)])

    def optimality(self, epsilon: float | None = None) -> pd.DataFrame:
        """Return how near each attack comes to the best result known, that of all attacks together, image by image.

        One row per (data set, norm, target card, place that attacks come from, attack). `attacks_from` is "mean over
        cards" (transfer, averaged over the same pairs of models as in `summary`) or "white-box", attacks on the target
        itself. `accuracy` is the share of images right before and under this attack alone, `best_known` the share right
        before and under all attacks of that norm at that epsilon from the same surrogates (attacks that only ask the
        target among them, in the white-box rows), and `gap` their difference, in [0, 1]: 0 where no other attack
        fools the target on any further image. `area_gap` is the area between the two curves from epsilon 0 to the
        largest, divided by the largest: the mean gap over all epsilons. What was not attacked so has no row. A gap says
        nothing of a model's robustness, and has no interval: it is about these attacks on these images.

        Args:
            epsilon: where to state accuracies (default: the one that the sweep declares as `verdict_epsilon`, else the
                one nearest to half of the largest).

        Raises:
            UsageError: if `epsilon` was not scored.
        """
        rows = [row for one in self.outcomes for row in optimality_rows(one, epsilon)]
        return rows_frame(OptimalityRow, rows)

    def compare(
        self,
        first: str,
        second: str,
        *,
        dataset: str | None = None,
        norm: str | None = None,
        epsilon: object = None,
        metric: str = "accuracy",
    ) -> Verdict:
        """Compare two model cards under all kinds of attackers, and say what that allows to say.

        Args:
            first: a target card's name; differences are its statistic minus the other's.
            second: the other's.
            dataset: which data set (may be left out where there is one).
            norm: of the attacks (default: the first there is).
            epsilon: where to compare (default: the one that the sweep declares as `verdict_epsilon`, else the one
                nearest to half of the largest).
            metric: "accuracy" under attack, "area" under its curve, "asr-common" (the share of the images kept that all
                models of both cards get right when clean) or "minimal-norm" (of minimal-norm attacks, the mean of the
                smallest epsilon that fools, in shares of the largest).

        Raises:
            UsageError: for a name, data set, norm, epsilon or metric that is not in these results.
        """
        return self._comparison(dataset, norm, epsilon, metric).verdict(first, second)

    def verdicts(
        self,
        *,
        dataset: str | None = None,
        norm: str | None = None,
        epsilon: object = None,
        metric: str = "accuracy",
    ) -> list[Verdict]:
        """Compare all pairs of target cards, without those that have not shown that they learned.

        Args:
            dataset: as in `compare`.
            norm: likewise.
            epsilon: likewise.
            metric: likewise.

        Raises:
            UsageError: for what is not in these results.
        """
        return self._comparison(dataset, norm, epsilon, metric).all_verdicts()

    def _comparison(self, dataset: str | None, norm: str | None, epsilon: object, metric: str) -> Comparison:
        if dataset is None and len(self.outcomes) != 1:
            known = ", ".join(self.datasets) or "none"
            raise UsageError(f"there are several data sets here; name one with dataset ({known}).")
        outcomes = self.outcomes[0] if dataset is None else self.on(dataset)
        return Comparison(outcomes, norm=norm, epsilon=epsilon, metric=metric)

    def mean_accuracies(self, attack: str) -> pd.DataFrame:
        """Return each target card's accuracy under one attack, by data set and epsilon, the mean over its seeds.

        Columns: dataset, target, epsilon, accuracy, seeds (how many rows the mean is over). No rows for an attack that
        is not there. All surrogates count alike, so this is for attacks that were not crafted on models of the run.

        Args:
            attack: the attack's name.
        """
        rows = self.frame().query("attack == @name", local_dict={"name": attack})
        groups = rows.groupby(["dataset", "target", "epsilon"], sort=False)["accuracy"]
        return groups.agg(accuracy="mean", seeds="count").reset_index()

    def check(self, model: str | None = None) -> list[Finding]:
        """Return what the checks find: whether the numbers mean what they seem to.

        Every finding has `check`, `status` ("pass", "warn" or "fail"), `value` (the number that was measured), `where`,
        `meaning` and `remedy`; what failed comes first. What a check cannot measure here it says nothing of.

        Args:
            model: a model card's name, to leave out what is about other cards alone (default: all).

        Raises:
            UsageError: for a name that is not there.
        """
        model = None if model is None else as_spelled("model", model, self.cards)
        if model is not None and model not in self.cards:
            raise unknown_name("model", model, self.cards)
        found = [
            finding
            for one in self.outcomes
            if model is None or model in {record.name for record in one.models.values()}
            for finding in findings(one, model)
        ]
        return sorted(found, key=lambda finding: ORDER.index(finding.status))

    def curves(self) -> pd.DataFrame:
        """Return accuracy against epsilon as one row per (data set, norm, attack, target model, epsilon).

        Each is the mean over surrogates as in `summary` (of an ensemble attack: over ensembles); `attack` is an
        attack's name, or "worst case"; or "white-box": not transfer, but the share of images right before and under all
        gradient attacks on the target itself. Noise comes last of its norm, then imported images: not those crafted on
        the target itself or on a model that started from its weights.
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
        rows += _curve_rows(outcomes, grid, WHITE_BOX, white_box_accuracy(grid))
    rows += [*_plain_rows(outcomes, noise_attacks(outcomes)), *_plain_rows(outcomes, imported_attacks(outcomes))]
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


def _plain_rows(outcomes: Outcomes, attacks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the curves of attacks whose images are the same for all targets: no mean over surrogates is needed."""
    targets, count = set(scored_targets(outcomes)), len(outcomes.labels)
    curves: dict[tuple[str | None, str, str], dict[float, float]] = {}
    for (crafting, seen), answers in outcomes.cells.answers(outcomes.cells.under(attacks)):
        for target, right in zip(seen, how_many(answers.right), strict=True):
            if target in targets and outcomes.relation(crafting.surrogate, target) not in (*KNOWN, "same-start"):
                curve = curves.setdefault((crafting.surrogate, target, crafting.attack), {})
                curve[crafting.epsilon] = float(right) / count
    return [
        _point(outcomes, outcomes.attacks[attack].norm, outcomes.attacks[attack].name, target, epsilon, share)
        for (_, target, attack), curve in curves.items()
        for epsilon, share in ((0.0, float(accuracy(outcomes.clean[target], outcomes.labels))), *sorted(curve.items()))
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
