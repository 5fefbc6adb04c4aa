"""The simulation behind the intervals, in three of its cells; `benchmarks/coverage.md` has all of them."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))


@pytest.mark.parametrize(
    ("effects", "seeds", "images", "correlation"),
    [("medium", 5, 1000, 0.0), ("large", 3, 300, 0.95), ("large", 5, 300, -0.95)],
)
def test_intervals_hold_the_truth_nineteen_times_in_twenty(effects, seeds, images, correlation):
    found = SCRIPT["simulate"](SCRIPT["Design"](effects, seeds, images, correlation), 200)
    # 93 to 98 %, within two standard errors (0.011) of 400 made runs; at most 5 % within two (0.015) of 200.
    assert 0.93 - 0.022 <= found.covered <= 0.98 + 0.022
    assert found.false_positives <= 0.05 + 0.03


def test_the_true_difference_is_the_mean_of_many_made_runs():
    design, draw = SCRIPT["Design"]("large", 3, 300), np.random.default_rng(0)
    gap = SCRIPT["GAP"]
    means = [SCRIPT["sample"](design, SCRIPT["right"](design, gap, draw)).estimate for _ in range(600)]
    error = np.std(means) / len(means) ** 0.5
    assert np.mean(means) == pytest.approx(SCRIPT["truth"](design, gap), abs=4 * error)
