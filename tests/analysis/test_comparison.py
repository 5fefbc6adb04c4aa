"""Comparing two learning rules: against statsmodels, and on differences that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from robustbench_ekdaa.analysis.comparison import holm, mcnemar, transfer_difference
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError

from ..support.made_outcomes import make_outcomes, random_outcomes


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemars_p_value_is_that_of_statsmodels(pairs):
    a, b = np.array(pairs).T
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    if (a == b).all():
        assert mcnemar(a, b) == 1
    else:
        assert mcnemar(a, b) == pytest.approx(reference_mcnemar(table, exact=True).pvalue)


@settings(max_examples=15)  # the reference takes 70 ms a call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holms_correction_is_that_of_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_a_difference_is_that_of_the_summary_and_changes_sign_with_the_order():
    outcomes = random_outcomes(images=300)
    rows = Results([outcomes]).summary().set_index("model")["transfer_accuracy"]
    there, back = (transfer_difference(outcomes, *pair) for pair in (("backprop", "ekdaa"), ("ekdaa", "backprop")))
    assert there.estimate == pytest.approx(rows["backprop"] - rows["ekdaa"])
    assert (back.estimate, back.low, back.high) == pytest.approx((-there.estimate, -there.high, -there.low))
    assert there.low <= there.estimate <= there.high
    assert there.n_seeds == 3


def test_a_card_does_not_differ_from_itself():
    difference = transfer_difference(random_outcomes(), "ekdaa", "ekdaa")
    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def test_what_two_cards_share_cancels_in_their_difference():
    labels, right = np.zeros(100, int), np.zeros(100, int)
    fooled = (np.arange(100) < 40).astype(int)
    more = (np.arange(100) < 45).astype(int)
    predictions = {("a0", "b0", "fgsm", 0.1): fooled, ("b0", "a0", "fgsm", 0.1): more}
    outcomes = make_outcomes([("a", 0), ("b", 0)], labels, {"a0": right, "b0": right}, predictions)
    difference = transfer_difference(outcomes, "b", "a")
    assert difference.estimate == pytest.approx(0.05)
    # Only the five images that they differ on move it: a standard error of 0.022, where unpaired it would be 0.07.
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * np.sqrt(0.05 * 0.95 / 100), rel=0.2)
    assert difference.n_seeds == 1


def test_the_interval_of_a_difference_is_at_least_newcombes_where_images_are_few_or_all_agree():
    for images, kept in ((6, 6), (150, 150), (150, 0)):
        labels, wrong = np.zeros(images, int), np.ones(images, int)
        right = np.where(np.arange(images) < kept, labels, wrong)
        predictions = {("a0", "b0", "fgsm", 0.1): right, ("b0", "a0", "fgsm", 0.1): right}
        outcomes = make_outcomes([("a", 0), ("b", 0)], labels, {"a0": labels, "b0": labels}, predictions)
        found = transfer_difference(outcomes, "b", "a")
        expected = confint_proportions_2indep(kept, images, kept, images, method="newcomb", compare="diff")
        assert (found.low, found.high) == pytest.approx(expected)


def test_wrong_names_and_sizes_are_told():
    outcomes = random_outcomes()
    with pytest.raises(UsageError, match="Did you mean ekdaa"):
        transfer_difference(outcomes, "backprop", "ekda")
    with pytest.raises(UsageError, match="Choose one of"):
        transfer_difference(outcomes, "backprop", "ekdaa", epsilon=0.15)
    with pytest.raises(UsageError, match="norm"):
        transfer_difference(outcomes, "backprop", "ekdaa", norm="l2")
