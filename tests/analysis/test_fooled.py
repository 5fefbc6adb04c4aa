"""Who is fooled by whom: the parts of a mean over surrogates, against plain loops over predictions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robustbench_ekdaa.analysis.intervals import wilson_interval
from robustbench_ekdaa.analysis.results import WHITE_BOX, Results
from robustbench_ekdaa.errors import UsageError

from ..support.healthy_runs import cells_with, healthy
from ..support.made_outcomes import make_outcomes, random_outcomes, with_constant, with_ensembles, without


def rows_of(outcomes, epsilon=None):
    return Results([outcomes]).who_is_fooled(epsilon)


def kept_in_plain_loops(outcomes, surrogates, target, epsilon, among=None):
    """Mean over target seeds of the mean over surrogates of other seeds of the share right in the worst case."""
    attacks = [key for key in outcomes.attacks if key != "noise"]
    found = {(cell.surrogate, cell.attack, cell.epsilon, cell.target): cell.predictions for cell in outcomes.cells}
    by_seed = []
    for key, model in outcomes.models.items():
        if model.name != target:
            continue
        shares = []
        for other in surrogates:
            if outcomes.models[other].seed == model.seed:
                continue
            right = outcomes.clean[key] == outcomes.labels
            for attack in attacks:
                right = right & (found[other, attack, epsilon, key] == outcomes.labels)
            shares.append(np.mean(right if among is None else right[among]))
        by_seed.append(np.mean(shares))
    return np.mean(by_seed)


def test_every_cell_is_the_worst_case_over_attacks_from_one_cards_other_seeds():
    outcomes = random_outcomes(cards=3, seeds=3)
    rows = rows_of(outcomes, 0.2)
    cards = rows[rows["attacks_from"] == "card"]
    assert len(cards) == 9
    right = np.stack([predicted == outcomes.labels for predicted in outcomes.clean.values()]).all(0)
    for row in cards.itertuples():
        surrogates = [f"{row.surrogate}{seed}" for seed in range(3)]
        assert row.accuracy == pytest.approx(kept_in_plain_loops(outcomes, surrogates, row.target, 0.2))
        kept = kept_in_plain_loops(outcomes, surrogates, row.target, 0.2, right)
        assert row.attack_success_rate_common == pytest.approx(1 - kept)
        assert row.accuracy_low < row.accuracy < row.accuracy_high
        assert (row.n_seeds, row.n_surrogates, row.n_images, row.n_common) == (3, 3, 60, right.sum())


def test_the_mean_and_white_box_beside_them_are_the_summarys(real):
    rows, summary = rows_of(real, 0.2), Results([real]).summary(0.2).set_index("model")
    for source, name in (("mean over cards", "transfer_accuracy"), ("white-box", "white_box_accuracy")):
        part = rows[rows["attacks_from"] == source].set_index("target")
        assert part["surrogate"].isna().all()
        for end in ("", "_low", "_high"):
            pd.testing.assert_series_equal(part[f"accuracy{end}"], summary[f"{name}{end}"], check_names=False)
    pair = rows[rows["attacks_from"] == "mean over cards"].set_index("target")
    for end in ("", "_low", "_high"):
        name = f"attack_success_rate_common{end}"
        pd.testing.assert_series_equal(pair[name], summary[name], check_names=False)


def test_a_target_that_falls_to_its_own_kind_alone_shows_it_and_the_mean_does_not():
    made = healthy(seeds=3, images=200)

    def change(cell):
        if cell.surrogate is None or cell.surrogate == cell.target:
            return None
        kin = made.models[cell.surrogate].rule == made.models[cell.target].rule
        return (made.labels + 1) % 10 if kin else made.clean[cell.target]

    rows = rows_of(cells_with(made, change)).set_index(["target", "surrogate"])["accuracy"]
    assert rows["backprop", "backprop"] == rows["ekdaa", "wide_ekdaa"] == 0
    assert rows["backprop", "ekdaa"] > 0.9
    assert rows["ekdaa", "backprop"] > 0.9


def test_foreign_cards_are_marked_and_stand_after_the_others():
    rows = rows_of(healthy(seeds=3, images=100))
    part = rows[rows["target"] == "ekdaa"]
    assert part["attacks_from"].tolist() == ["card"] * 2 + ["foreign card"] * 3 + ["mean over cards", "white-box"]
    assert part["surrogate_rule"].tolist()[:5] == ["backprop", "ekdaa", "backprop", "ekdaa", "fa"]


def test_a_card_with_one_seed_has_no_row_of_numbers_against_itself():
    rows = rows_of(random_outcomes(cards=2, seeds=1))
    own = rows[rows["target"].eq(rows["surrogate"])]
    assert len(own) == 2
    assert own["accuracy"].isna().all()
    assert (own["n_seeds"] == 0).all()
    assert rows[rows["attacks_from"] == "card"]["accuracy"].notna().sum() == 2


def test_few_images_have_at_least_wilsons_interval():
    labels = np.zeros(6, int)
    models, clean = [("a", 0), ("a", 1)], {"a0": labels, "a1": labels}
    predictions = {(one, other, "fgsm", 0.1): labels for one in clean for other in clean}
    row = rows_of(make_outcomes(models, labels, clean, predictions, classes=("0", "1"))).iloc[0]
    low, _ = wilson_interval(6, 6)
    assert (row["accuracy"], row["accuracy_high"]) == (1, 1)
    assert row["accuracy_low"] == pytest.approx(low)


def test_a_dead_card_is_said_to_be_not_ranked_and_empties_no_common_set():
    rows = rows_of(with_constant(random_outcomes(cards=2, seeds=2)))
    stuck = rows[rows["target"] == "stuck"]
    assert set(stuck["standing"]) == {"not ranked"}
    assert stuck["attack_success_rate_common"].isna().all()
    assert (rows[rows["attacks_from"] == "card"].query("target != 'stuck'")["n_common"] > 0).all()


def test_an_ensembles_attacks_count_as_those_of_its_members():
    made = random_outcomes(cards=2, seeds=2)
    alone, together = rows_of(made, 0.2), rows_of(with_ensembles(made), 0.2)
    assert together["surrogate"].tolist() == alone["surrogate"].tolist()
    transferred = alone["attacks_from"] != "white-box"
    assert (together["accuracy"] <= alone["accuracy"])[transferred].all()
    assert (together["accuracy"] < alone["accuracy"])[transferred].any()


def test_types_do_not_depend_on_what_there_is():
    full, empty = random_outcomes(cards=2, seeds=1), replace(random_outcomes(), cells=())
    assert len(rows_of(empty)) == 0
    assert rows_of(empty).dtypes.equals(rows_of(full).dtypes)
    assert len(rows_of(without(random_outcomes(cards=2, seeds=2), "ekdaa1")))


def test_an_epsilon_that_was_not_scored_is_told(real):
    with pytest.raises(UsageError, match="Choose one of"):
        rows_of(real, 0.15)


def test_the_white_box_curve_is_the_worst_case_of_the_attacks_on_the_model_itself(real):
    curve = Results([real]).curves().query("attack == @name", local_dict={"name": WHITE_BOX})
    found = {(cell.surrogate, cell.attack, cell.epsilon, cell.target): cell.predictions for cell in real.cells}
    assert len(curve) == 3 * 5
    for row in curve.itertuples():
        key = f"{row.model}{row.seed}"
        right = real.clean[key] == real.labels
        for attack in ("fgsm", "bim") if row.epsilon else ():
            right &= found[key, attack, row.epsilon, key] == real.labels
        assert row.accuracy == pytest.approx(right.mean())


def test_a_target_that_was_no_surrogate_has_no_white_box_curve():
    outcomes = with_constant(random_outcomes(cards=2, seeds=2))
    curve = Results([outcomes]).curves().query("attack == @name", local_dict={"name": WHITE_BOX})
    assert set(curve["model"]) == {"backprop", "ekdaa"}
