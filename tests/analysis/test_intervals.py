"""Intervals: Wilson's against statsmodels, the bootstrap against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from robustbench_ekdaa.analysis.intervals import (
    keyed,
    percentile_interval,
    resample_images,
    resample_seeds,
    wilson_interval,
)


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_interval_is_that_of_statsmodels(total, data, confidence):
    count = data.draw(st.integers(0, total))
    expected = proportion_confint(count, total, alpha=1 - confidence, method="wilson")
    low, high = wilson_interval(count, total, confidence)
    assert (float(low), float(high)) == pytest.approx(expected, abs=1e-12)
    assert 0 <= low <= count / total <= high <= 1


def test_wilsons_interval_of_nothing_is_undefined():
    low, high = wilson_interval(np.array([0, 5]), np.array([0, 10]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert low[1] < 0.5 < high[1]


def test_the_same_key_gives_the_same_draws_and_another_key_others():
    right = np.random.default_rng(0).random((3, 50)) < 0.7
    one = resample_images(right, keyed("summary", "digits"), 20)
    assert np.array_equal(one, resample_images(right, keyed("summary", "digits"), 20))
    assert not np.array_equal(one, resample_images(right, keyed("summary", "other"), 20))


def test_resampled_means_have_the_binomial_spread():
    right = np.zeros((1, 400), bool)
    right[:, :100] = True
    means = resample_images(right, keyed("spread"), 20_000)[:, 0]
    assert means.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 400 / 20_000))
    # The relative error of a variance from 20,000 draws is 1 %.
    assert means.var() == pytest.approx(0.25 * 0.75 / 400, rel=0.05)


def test_rows_are_resampled_together():
    right = np.random.default_rng(1).random((1, 80)) < 0.5
    means = resample_images(np.concatenate([right, right, ~right]), keyed("pairs"), 200)
    assert np.array_equal(means[:, 0], means[:, 1])
    np.testing.assert_allclose(means[:, 0] + means[:, 2], 1, atol=1e-6)


def test_the_chunks_of_a_large_bootstrap_are_all_filled():
    right = np.ones((2, 150_000), bool)
    assert np.allclose(resample_images(right, keyed("large"), 30), 1)


def test_drawing_one_seed_less_makes_the_variance_of_a_mean_unbiased():
    values = np.array([0.3, 0.5, 0.9])
    counts = resample_seeds([0, 1, 2], keyed("seeds"), 40_000)
    means = (counts * values).sum(1) / counts.sum(1)
    assert (counts.sum(1) == 2).all()
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)
    assert means.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.05)


def test_models_of_one_seed_are_drawn_together_and_a_single_seed_always():
    counts = resample_seeds([4, 7, 4, 7, 9], keyed("together"), 500)
    assert np.array_equal(counts[:, [0, 1]], counts[:, [2, 3]])
    assert (resample_seeds([3, 3], keyed("one"), 10) == 1).all()


def test_the_percentile_interval_leaves_undefined_replicates_out():
    replicates = np.concatenate([np.linspace(0, 1, 1001), [np.nan] * 50])
    assert percentile_interval(replicates) == pytest.approx((0.025, 0.975))
    assert np.isnan(percentile_interval(np.full(3, np.nan))).all()


def test_over_images_alone_the_interval_covers_the_truth_nineteen_times_in_twenty():
    draw, truth, covered = np.random.default_rng(2), 0.3, 0
    for trial in range(400):
        right = draw.random((1, 300)) < truth
        low, high = percentile_interval(resample_images(right, keyed("coverage", trial), 400)[:, 0])
        covered += low <= truth <= high
    # 0.95 within four standard errors (0.011) of 400 trials.
    assert covered / 400 == pytest.approx(0.95, abs=0.044)
