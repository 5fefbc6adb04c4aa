"""Who may be ranked: bounds against scipy and simulation, and cards that learned nothing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from statsmodels.stats.proportion import proportion_confint

from robustbench_ekdaa.analysis.intervals import lower_bound
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.analysis.standing import chance_level, compared_targets, standings

from ..support.made_outcomes import make_outcomes, with_constant


def accuracies_of(names, images, accuracies, draw, **fields):
    """Outcomes without attacks: cards whose seeds get random images right, each so many."""
    labels = draw.integers(0, 10, images)
    models = [(name, seed) for name in names for seed in range(len(accuracies[name]))]
    clean = {
        f"{name}{seed}": np.where(draw.random(images) < accuracies[name][seed], labels, (labels + 1) % 10)
        for name, seed in models
    }
    return make_outcomes(models, labels, clean, {}, classes=tuple("0123456789"), **fields)


def on_one_network(outcomes, **metrics):
    models = {key: replace(model, metrics=metrics) for key, model in outcomes.models.items()}
    return replace(outcomes, models=models)


def test_a_card_that_always_answers_the_same_is_not_ranked_and_empties_no_common_set(real):
    before, after = (Results([one]).summary().set_index("model") for one in (real, with_constant(real)))
    stuck = after.loc["stuck"]
    assert stuck["area_relative"] == pytest.approx(1)  # it would lead
    assert stuck["standing"] == "not ranked"
    share = np.bincount(real.labels).max() / len(real.labels)
    assert stuck["note"] == f"not ranked: not shown to beat chance ({100 * share:.1f} %)"
    assert np.isnan(stuck["attack_success_rate_common"])
    columns = ["standing", "attack_success_rate_common", "n_common"]
    assert after.loc[before.index, columns].equals(before[columns])
    assert (before["n_common"] > 100).all()
    frame = Results([with_constant(real)]).frame()
    assert set(frame.loc[frame["target"] != "stuck", "n_common"]) == set(before["n_common"])
    assert frame.loc[frame["target"] == "stuck", "n_common"].isna().all()
    asked = Results([with_constant(real)]).frame(common=["mlp", "linear", "stuck"])
    assert (asked["n_common"] < 30).all()  # who is named is compared


def test_the_common_rate_of_the_summary_counts_images_and_pairs(real):
    summary = Results([real]).summary(0.3).set_index("model")
    common = [
        i for i, label in enumerate(real.labels) if all(predictions[i] == label for predictions in real.clean.values())
    ]
    predictions = {
        (cell.surrogate, cell.target, cell.attack): cell.predictions for cell in real.cells if cell.epsilon == 0.3
    }
    fooled = [
        any(predictions["mlp1", "linear0", attack][i] != real.labels[i] for attack in ("fgsm", "bim")) for i in common
    ]
    assert summary.loc["linear", "attack_success_rate_common"] == pytest.approx(np.mean(fooled))
    assert summary["n_common"].tolist() == [len(common)] * 2


def test_chance_is_the_share_of_the_most_frequent_class():
    outcomes = make_outcomes([("a", 0)], [0, 0, 0, 1], {"a0": [0, 0, 0, 0]}, {}, classes=("0", "1", "2"))
    assert chance_level(outcomes) == 0.75
    assert chance_level(replace(outcomes, labels=np.array([0, 1, 2, 0, 1, 2]))) == pytest.approx(1 / 3)
    assert chance_level(replace(outcomes, labels=np.array([0, 1]))) == 0.5
    assert standings(outcomes)["a"].kind == "not ranked"


@pytest.mark.parametrize(("accuracy", "kind"), [(0.1, "not ranked"), (0.117, "not ranked"), (0.25, "ranked")])
def test_chance_has_to_be_beaten_by_more_than_the_images_allow(accuracy, kind):
    outcomes = accuracies_of(["a"], 300, {"a": [accuracy] * 3}, np.random.default_rng(0))
    assert standings(outcomes)["a"].kind == kind


def test_one_seed_of_three_at_chance_is_a_card_that_may_not_have_learned():
    outcomes = accuracies_of(["a"], 1000, {"a": [0.9, 0.9, 0.1]}, np.random.default_rng(0))
    assert standings(outcomes)["a"].kind == "not ranked"


def test_a_card_has_to_beat_the_frozen_card_of_its_own_network():
    accuracies = {"weak": [0.71, 0.70, 0.70], "strong": [0.9, 0.9, 0.88], "frozen": [0.70, 0.71, 0.69]}
    outcomes = accuracies_of(["weak", "strong", "frozen"], 1000, accuracies, np.random.default_rng(0))
    shared = on_one_network(outcomes, network="abc", parameters=10)
    found = standings(shared)
    assert (found["weak"].kind, found["weak"].reason) == (
        "not ranked",
        "not ranked: not shown to beat frozen, its control",
    )
    assert (found["strong"].kind, found["strong"].reason) == ("ranked", None)
    assert (found["frozen"].kind, found["frozen"].reason) == ("control", "control: not ranked")
    assert {shared.models[key].name for key in compared_targets(shared)} == {"strong", "frozen"}
    assert standings(outcomes)["weak"].kind == "ranked"  # of another network
    early = on_one_network(outcomes, parameters=10)  # early releases recorded the number of weights alone
    assert standings(early)["weak"].kind == "not ranked"
    untargeted = replace(shared, targets=tuple(key for key in shared.targets if not key.startswith("frozen")))
    assert standings(untargeted)["weak"].kind == "not ranked"  # a control that only was attacked on counts too


def test_a_frozen_card_at_chance_is_no_control_to_compare_with():
    outcomes = accuracies_of(["frozen"], 300, {"frozen": [0.1, 0.1]}, np.random.default_rng(1))
    assert standings(outcomes)["frozen"].kind == "not ranked"


def test_of_one_model_against_a_level_the_bound_is_that_of_a_t_test():
    right = np.random.default_rng(0).random((1, 500)) < 0.4
    test = ttest_1samp(right[0].astype(float), 0.1, alternative="greater")
    assert lower_bound(right, 0.1) == pytest.approx(test.confidence_interval(0.95).low - 0.1)


def test_of_few_images_or_of_no_variance_the_bound_is_wilsons():
    for images in (6, 1000):
        low, _ = proportion_confint(images, images, alpha=0.1, method="wilson")
        assert lower_bound(np.ones((3, images), bool), 0.1) == pytest.approx(low - 0.1)
    right = np.ones((1, 6), bool)
    assert lower_bound(right, ~right) < 1
    assert lower_bound(right, right) < 0


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_a_difference_of_nothing_is_called_one_in_one_of_twenty_cases(spread):
    draw, called = np.random.default_rng(3), 0
    for _ in range(1000):
        easy = draw.random(400)
        one, other = (easy < np.clip(0.7 + spread * draw.normal(size=(3, 1)), 0, 1) for _ in range(2))
        noise = draw.random((2, 3, 400)) < 0.1
        called += lower_bound(one ^ noise[0], other ^ noise[1]) > 0
    # 0.05 within four standard errors (0.007) of 1000 trials; the bound may be a little cautious.
    assert 0.01 < called / 1000 < 0.078
