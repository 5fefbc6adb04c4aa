"""The tidy frame: every number equals the one a plain loop over the outcomes gives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError

from ..support.made_outcomes import make_outcomes, random_outcomes, without

COLUMNS = [
    "dataset",
    "surrogate",
    "surrogate_rule",
    "surrogate_seed",
    "target",
    "target_rule",
    "target_seed",
    "attack",
    "norm",
    "epsilon",
    "n_images",
    "clean_accuracy",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "attack_success_rate",
    "attack_success_rate_common",
    "n_common",
    "transfer_rate",
    "mistake_agreement",
    "zero_gradient_share",
    "queries",
    "median_norm",
    "relation",
]


def ratio(part, whole):
    return part / whole if whole else float("nan")


def expected_row(outcomes, surrogate, target, attack, epsilon):
    """Count image by image."""
    labels, clean = outcomes.labels, outcomes.clean

    def said_by(model):
        if epsilon == 0:
            return clean[model]
        return next(
            cell.predictions
            for cell in outcomes.cells
            if (cell.surrogate, cell.target, cell.attack, cell.epsilon) == (surrogate, model, attack, epsilon)
        )

    answers, images = said_by(target), range(len(labels))
    right = [i for i in images if clean[target][i] == labels[i]]
    common = [i for i in images if all(clean[model][i] == labels[i] for model in clean)]
    row = {
        "accuracy": ratio(sum(answers[i] == labels[i] for i in images), len(labels)),
        "clean_accuracy": ratio(len(right), len(labels)),
        "attack_success_rate": ratio(sum(answers[i] != labels[i] for i in right), len(right)),
        "attack_success_rate_common": ratio(sum(answers[i] != labels[i] for i in common), len(common)),
        "n_common": len(common),
        "transfer_rate": float("nan"),
        "mistake_agreement": float("nan"),
    }
    if surrogate is not None:
        own = said_by(surrogate)
        fooled = [i for i in right if clean[surrogate][i] == labels[i] and own[i] != labels[i]]
        both = [i for i in images if own[i] != labels[i] and answers[i] != labels[i]]
        row["transfer_rate"] = ratio(sum(answers[i] != labels[i] for i in fooled), len(fooled))
        row["mistake_agreement"] = ratio(sum(own[i] == answers[i] for i in both), len(both))
    return row


def test_every_row_of_a_real_run_equals_a_plain_count(real):
    frame = Results([real]).frame()
    assert len(frame) == (3 * 3 * 2 + 3) * 5  # (gradient attacks on three surrogates, noise) x three targets x epsilons
    for row in frame.to_dict("records"):
        surrogate = None if pd.isna(row["surrogate"]) else f"{row['surrogate']}{row['surrogate_seed']}"
        where = (surrogate, f"{row['target']}{row['target_seed']}", row["attack"], row["epsilon"])
        for name, value in expected_row(real, *where).items():
            assert row[name] == pytest.approx(value, nan_ok=True), (where, name)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"] or row["accuracy"] in (0, 1)


def test_the_columns_and_their_types_do_not_depend_on_what_they_hold(real):
    everything = Results([real]).frame()
    only_noise = Results([replace(real, cells=tuple(cell for cell in real.cells if cell.surrogate is None))]).frame()
    nothing = Results([replace(real, cells=())]).frame()
    assert list(everything.columns) == COLUMNS
    assert everything.dtypes.equals(only_noise.dtypes)
    assert everything.dtypes.equals(nothing.dtypes)
    assert len(nothing) == 0
    assert only_noise["surrogate_seed"].isna().all()


def test_relations_are_marked(real):
    frame = Results([real]).frame()
    pairs = {
        (row.surrogate, row.surrogate_seed, row.target, row.target_seed): row.relation
        for row in frame[frame["surrogate"].notna()].itertuples()
    }
    assert pairs["mlp", 0, "mlp", 0] == "white-box"
    assert pairs["mlp", 0, "mlp", 1] == "same-rule"
    assert pairs["mlp", 1, "linear", 0] == "cross-rule"
    assert pairs["mlp", 0, "linear", 0] == "same-start"
    assert set(frame.loc[frame["surrogate"].isna(), "relation"]) == {"no surrogate"}


def test_every_curve_starts_once_at_the_clean_images(real):
    frame = Results([real]).frame()
    curve = ["surrogate", "surrogate_seed", "target", "target_seed", "attack"]
    starts = frame[frame["epsilon"] == 0]
    assert len(starts) == len(frame[curve].drop_duplicates()) == len(starts[curve].drop_duplicates())
    assert (starts["accuracy"] == starts["clean_accuracy"]).all()
    assert (starts["attack_success_rate"] == 0).all()


def test_the_rows_do_not_depend_on_the_order_in_which_outcomes_were_stored(real):
    shuffled = replace(real, cells=tuple(reversed(real.cells)))
    pd.testing.assert_frame_equal(Results([real]).frame(), Results([shuffled]).frame())


def test_common_images_can_be_those_of_some_cards_only(real):
    frame = Results([real]).frame(common=["mlp"])
    expected = ((real.clean["mlp0"] == real.labels) & (real.clean["mlp1"] == real.labels)).sum()
    assert set(frame.loc[frame["target"] == "mlp", "n_common"]) == {expected}
    assert frame.loc[frame["target"] == "linear", ["n_common", "attack_success_rate_common"]].isna().all(axis=None)
    with pytest.raises(UsageError, match="Did you mean mlp"):
        Results([real]).frame(common=["mpl"])


def test_without_the_surrogates_own_answers_transfer_is_undefined_and_the_rest_is_not():
    outcomes = make_outcomes(
        [("a", 0), ("b", 0)],
        [0, 1],
        {"a0": [0, 1], "b0": [0, 1]},
        {("a0", "b0", "fgsm", 0.1): [1, 1]},
        targets=("b0",),
    )
    row = Results([outcomes]).frame().iloc[-1]
    assert np.isnan(row["transfer_rate"])
    assert np.isnan(row["mistake_agreement"])
    assert row["attack_success_rate"] == 0.5


def test_a_failed_model_has_no_rows_and_shrinks_no_common_images():
    whole = random_outcomes(cards=2, seeds=2)
    hurt = without(whole, "ekdaa1")
    frame = Results([hurt]).frame()
    assert set(zip(frame["target"], frame["target_seed"], strict=True)) == {
        ("backprop", 0),
        ("backprop", 1),
        ("ekdaa", 0),
    }
    common = np.all([hurt.clean[key] == hurt.labels for key in ("backprop0", "backprop1", "ekdaa0")], axis=0).sum()
    assert set(frame["n_common"]) == {common}


def test_data_sets_are_put_under_each_other(real):
    frame = Results([real, random_outcomes()]).frame()
    assert list(frame["dataset"].unique()) == ["digits", "made"]
    assert frame.index.is_unique


def test_a_card_that_is_compared_need_not_be_in_every_data_set(real):
    frame = Results([real, random_outcomes()]).frame(common=["mlp"])
    assert frame.loc[frame["dataset"] == "made", "n_common"].isna().all()
    assert frame.loc[(frame["dataset"] == "digits") & (frame["target"] == "mlp"), "n_common"].notna().all()
