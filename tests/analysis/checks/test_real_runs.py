"""The quickstart, as it is run: no check fails, and what is told is true."""

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.checks import FAIL, PASS

# Of the quickstart it is true that three seeds are few, that they differ, and that no surrogate is foreign.
TRUE_OF_THE_QUICKSTART = {"training_seeds", "seed_variance", "foreign_surrogates"}


def told(tmp_path, **fields):
    spec = {"datasets": ["digits"], "images": 300, "seeds": 3, **fields}
    rb.sweep(rb.SweepSpec(**spec), tmp_path / "run", workspace=tmp_path)
    found = rb.check(tmp_path / "run", workspace=tmp_path)
    assert [one for one in found if one.status == FAIL] == []
    return {one.check for one in found if one.status != PASS}


@pytest.mark.slow
def test_the_quickstart_raises_no_alarm(tmp_path):
    models, attacks = ["backprop", "ekdaa", "frozen"], ["fgsm", "bim", "pgd", "mi_fgsm", "noise"]
    epsilons = [round(0.05 * step, 2) for step in range(9)]
    assert told(tmp_path, models=models, attacks=attacks, epsilons=epsilons) <= TRUE_OF_THE_QUICKSTART
