"""Wilson's interval against statsmodels; intervals of images and seeds are tested with what they are computed from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from robustbench_ekdaa.analysis.intervals import wilson_interval


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
