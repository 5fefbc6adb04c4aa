"""Wilson's interval against statsmodels, many differences at once; the rest is tested with what it is computed from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from robustbench_ekdaa.analysis.intervals import Sample, difference_interval, difference_intervals, wilson_interval


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


def test_the_intervals_of_many_differences_are_those_of_each_alone_to_the_bit():
    draw = np.random.default_rng(0)

    def sample(images, seeds, size):
        kept = size * draw.integers(-1, 2, images).astype(float)
        by_seed = tuple(draw.normal(0, 0.02, number) for number in seeds)
        return Sample(kept, kept.mean() + draw.normal(0, 0.01, max(seeds)), by_seed)

    shapes = [(200, (5,), 1), (200, (5,), 0), (200, (3, 5), 1), (60, (5,), 1), (200, (1,), 1), (200, (5,), 0.5)]
    samples = [sample(*shape) for shape in shapes * 3]
    for one, again in zip(difference_intervals(samples), map(difference_interval, samples), strict=True):
        assert all(
            float(getattr(one, name)) == float(getattr(again, name))
            for name in ("estimate", "low", "high", "p", "p_better")
        )
    assert difference_intervals([]) == []
