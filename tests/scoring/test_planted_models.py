"""A readout times ten, planted in a sweep: its decisions are those of the sound model, and a check names it."""

import pytest
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.checks import FAIL, findings
from robustbench_ekdaa.storing.store import open_run

from ..support.made_outcomes import quick_network


def layers():
    return [nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)]


def sharpened(network):
    """Return a network whose last layer is ten times as large: the same decisions, with weaker gradients."""
    last = network[-1]
    last.weight.data *= 10
    last.bias.data *= 10
    return network


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharpened")
    rb.register_model("plain_mlp", {seed: quick_network(layers, digits.train, seed) for seed in (0, 1)}, "backprop")
    sharp = {seed: sharpened(quick_network(layers, digits.train, seed + 2)) for seed in (0, 1)}
    rb.register_model("sharp_mlp", sharp, "backprop")
    spec = rb.SweepSpec(
        datasets=["digits"],
        models=["plain_mlp", "sharp_mlp"],
        attacks=["bim", "mi_fgsm"],
        epsilons=[0, 0.05, 0.1, 0.2],
        images=120,
        seeds=2,
    )
    rb.sweep(spec, folder / "run", workspace=folder)
    rb.check(folder / "run", workspace=folder)
    return folder / "run"


def test_a_readout_times_ten_is_named_and_the_sound_model_is_not(run):
    found = findings(open_run(run)[0])
    assert [one.cards for one in found if one.check == "masking" and one.status == FAIL] == [("sharp_mlp",)]
    assert {one.check: one.status for one in found}["true_gradient"] == "pass"


def test_compare_claims_nothing_about_it_and_says_why(run):
    verdict = rb.open_results(run).compare("plain_mlp", "sharp_mlp")
    assert verdict.decision.kind not in ("first", "second", "equivalent")
