"""Metrics: exact on cases made by hand, bounded on all, equal to independent implementations."""

import doctest
import importlib
import inspect

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustbench_ekdaa.analysis import metrics
from robustbench_ekdaa.analysis.metrics import (
    accuracy,
    area_under_curve,
    attack_success_rate,
    common_images,
    eps_50,
    error_rate,
    mistake_agreement,
    robust_accuracy,
    transfer_rate,
)

LABELS = np.array([0, 1, 2, 0, 1])
CLEAN = np.array([0, 1, 2, 1, 0])  # right: first three
FIRST = np.array([0, 0, 2, 0, 0])  # under one attack, right: 0, 2 and (not before) 3
SECOND = np.array([1, 1, 2, 1, 1])  # under another, right: 1, 2 and (not before) 4

classes = st.integers(0, 3)


@st.composite
def answers(draw, models=4):
    """Labels and what some models predicted for as many images."""
    count = draw(st.integers(1, 12))
    return [draw(arrays(np.int64, count, elements=classes)) for _ in range(1 + models)]


@pytest.mark.parametrize("module", ["metrics", "intervals", "scores", "summary"])
def test_every_example_in_the_docstrings_is_true(module):
    loaded = importlib.import_module(f"robustbench_ekdaa.analysis.{module}")
    result = doctest.testmod(loaded)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_metric_has_a_checked_example():
    functions = [
        one for _, one in inspect.getmembers(metrics, inspect.isfunction) if one.__module__ == metrics.__name__
    ]
    assert len(functions) >= 10
    assert [one.__name__ for one in functions if ">>>" not in (one.__doc__ or "")] == []


def test_accuracy_and_error_rate_count_all_images():
    assert accuracy(CLEAN, LABELS) == pytest.approx(3 / 5)
    assert accuracy(FIRST, LABELS) == pytest.approx(3 / 5)
    assert error_rate(FIRST, LABELS) == pytest.approx(2 / 5)


def test_the_worst_case_is_a_mean_of_minima_and_asks_for_a_right_clean_answer():
    # Under the two attacks 3 of 5 are right each; only image 2 is right under both and before.
    assert robust_accuracy(CLEAN, [FIRST, SECOND], LABELS) == pytest.approx(1 / 5)
    assert robust_accuracy(CLEAN, [LABELS], LABELS) == pytest.approx(3 / 5)


def test_success_is_counted_among_the_images_that_were_right_before():
    assert attack_success_rate(CLEAN, FIRST, LABELS) == pytest.approx(1 / 3)
    assert attack_success_rate(CLEAN, SECOND, LABELS) == pytest.approx(1 / 3)


def test_common_success_is_counted_among_the_images_that_all_models_get_right():
    other = np.array([0, 1, 0, 0, 1])
    among = common_images([CLEAN, other], LABELS)
    assert among.tolist() == [True, True, False, False, False]
    assert attack_success_rate(CLEAN, FIRST, LABELS, among) == pytest.approx(1 / 2)


def test_transfer_is_counted_among_images_that_fooled_the_surrogate_and_that_the_target_got_right():
    labels = np.zeros(6, int)
    surrogate_before = np.array([0, 0, 0, 0, 1, 0])
    surrogate_after = np.array([1, 1, 1, 0, 1, 1])  # fooled: 0, 1, 2, 5 (4 was wrong before)
    target_before = np.array([0, 0, 1, 0, 0, 0])  # of these right before: 0, 1, 5
    target_after = np.array([1, 0, 1, 1, 1, 2])  # of these wrong now: 0, 5
    rate = transfer_rate(surrogate_before, surrogate_after, target_before, target_after, labels)
    assert rate == pytest.approx(2 / 3)


def test_agreement_is_counted_among_images_that_both_get_wrong():
    surrogate, target, labels = [1, 2, 0, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]
    assert mistake_agreement(surrogate, target, labels) == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    "undefined",
    [
        lambda: accuracy(np.empty(0, int), np.empty(0, int)),
        lambda: attack_success_rate([1, 1], [0, 1], [0, 0]),
        lambda: attack_success_rate([0, 0], [0, 1], [0, 0], [False, False]),
        lambda: transfer_rate([0, 0], [0, 0], [0, 0], [1, 1], [0, 0]),
        lambda: mistake_agreement([1, 0], [0, 1], [0, 0]),
        lambda: area_under_curve([0], [0.9]),
        lambda: area_under_curve([0, 1], [0, 0], relative=True),
        lambda: eps_50([0, 1], [0, 0]),
        lambda: eps_50([0, 1], [0.9, np.nan]),
    ],
)
def test_a_share_of_nothing_is_undefined_and_not_zero(undefined):
    with np.errstate(all="raise"):
        assert np.isnan(undefined())


@given(answers())
def test_shares_lie_between_zero_and_one_or_are_undefined(drawn):
    labels, a, b, c, d = drawn
    for share in (
        accuracy(a, labels),
        error_rate(a, labels),
        robust_accuracy(a, [b, c], labels),
        attack_success_rate(a, b, labels),
        transfer_rate(a, b, c, d, labels),
        mistake_agreement(a, b, labels),
    ):
        assert np.isnan(share) or 0 <= share <= 1


@given(answers())
def test_the_worst_case_never_exceeds_clean_accuracy_or_the_accuracy_under_any_attack(drawn):
    labels, clean, *attacked = drawn
    worst = robust_accuracy(clean, attacked, labels)
    assert worst <= min(accuracy(predictions, labels) for predictions in [clean, *attacked]) + 1e-12


@given(answers(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(drawn, random):
    order = list(range(len(drawn[0])))
    random.shuffle(order)
    labels, a, b, c, d = drawn
    l2, a2, b2, c2, d2 = (part[order] for part in drawn)
    assert robust_accuracy(a, [b, c], labels) == robust_accuracy(a2, [b2, c2], l2)
    np.testing.assert_equal(transfer_rate(a, b, c, d, labels), transfer_rate(a2, b2, c2, d2, l2))
    np.testing.assert_equal(attack_success_rate(a, b, labels), attack_success_rate(a2, b2, l2))


@given(answers())
def test_a_model_attacked_on_itself_is_fooled_by_all_that_fools_it(drawn):
    labels, clean, attacked, *_ = drawn
    rate = transfer_rate(clean, attacked, clean, attacked, labels)
    assert np.isnan(rate) or rate == 1


@given(answers())
def test_leading_axes_are_kept(drawn):
    labels, clean, a, b, c = drawn
    stacked = np.stack([np.stack([a, b]), np.stack([b, c])])
    each = [[attack_success_rate(clean, predictions, labels) for predictions in row] for row in stacked]
    np.testing.assert_equal(attack_success_rate(clean, stacked, labels), np.array(each, float))


grids = st.lists(st.floats(0.01, 1), min_size=1, max_size=8, unique=True).map(
    lambda sizes: np.array([0, *sorted(sizes)])
)


@given(grids, st.floats(0.05, 1))
def test_the_area_under_a_constant_curve_is_the_constant(epsilons, height):
    heights = np.full(len(epsilons), height)
    assert area_under_curve(epsilons, heights) == pytest.approx(height)
    assert area_under_curve(epsilons, heights, relative=True) == pytest.approx(1)
    assert eps_50(epsilons, heights) == np.inf


@given(grids, st.data())
def test_the_area_is_scipys_trapezoid(epsilons, data):
    heights = np.array([data.draw(st.floats(0.01, 1)) for _ in epsilons])
    reference = scipy.integrate.trapezoid(heights, epsilons) / epsilons[-1]
    assert area_under_curve(epsilons, heights) == pytest.approx(reference)
    assert area_under_curve(epsilons, heights, relative=True) == pytest.approx(reference / heights[0])


@given(grids, st.floats(0.1, 1), st.floats(0.1, 3))
def test_on_a_straight_line_eps_50_is_where_the_line_is_at_half(epsilons, clean, slope):
    crossing = clean / 2 / slope
    heights = clean - slope * epsilons  # below 0 is as good: only the crossing counts
    if crossing <= epsilons[-1] * (1 - 1e-9):
        assert eps_50(epsilons, heights) == pytest.approx(crossing)
    elif crossing >= epsilons[-1] * (1 + 1e-9):
        assert eps_50(epsilons, heights) == np.inf


def test_eps_50_is_the_first_crossing_even_if_accuracy_recovers():
    assert eps_50([0, 0.1, 0.2, 0.3], [0.8, 0.2, 0.6, 0.2]) == pytest.approx(0.1 * 0.4 / 0.6)
    assert eps_50([0, 0.1, 0.2], [0.8, 0.4, 0.4]) == pytest.approx(0.1)


def test_a_linear_models_curve_area_and_eps_50_follow_from_its_margins():
    # FGSM lowers a linear model's margin by epsilon times the l1 norm of its weights, here 2.
    margins = np.random.default_rng(0).uniform(0.01, 1, 4001)
    epsilons = np.linspace(0, 0.5, 51)
    heights = [(margins - 2 * epsilon > 0).mean() for epsilon in epsilons]
    mean_survival = np.minimum(margins / 2, 0.5).mean() / 0.5
    assert area_under_curve(epsilons, heights) == pytest.approx(mean_survival, abs=2e-3)
    assert eps_50(epsilons, heights) == pytest.approx(np.median(margins) / 2, abs=5e-3)
