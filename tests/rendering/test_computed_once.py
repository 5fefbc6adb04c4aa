"""A report computes each of its numbers once, however many tables, figures and sentences show it."""

from collections import Counter
from dataclasses import replace

import pytest

from robustbench_ekdaa.analysis import comparison, summary, transfer
from robustbench_ekdaa.analysis.checks import findings
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.rendering import write_report

from ..support.made_outcomes import random_outcomes


def of_two_norms(outcomes):
    """Make the attack bim one on the l2 norm."""
    bim = replace(outcomes.attacks["bim"], norm="l2")
    return replace(outcomes, attacks={**outcomes.attacks, "bim": bim})


@pytest.fixture
def counted(monkeypatch):
    """Count the real calls by data set and norm."""
    calls = {"intervals": Counter(), "grids": Counter(), "regimes": Counter()}
    find, build, compare = summary.card_intervals, transfer._grids, comparison.pair_regimes

    def intervals(grid, *arguments):
        calls["intervals"][grid.outcomes.dataset, grid.norm] += 1
        return find(grid, *arguments)

    def grids(outcomes):
        calls["grids"][outcomes.dataset] += 1
        return build(outcomes)

    def regimes(arena, first, second):
        calls["regimes"][arena.outcomes.dataset, arena.grid.norm, first, second] += 1
        return compare(arena, first, second)

    monkeypatch.setattr(comparison, "pair_regimes", regimes)
    monkeypatch.setattr(summary, "card_intervals", intervals)
    monkeypatch.setattr(transfer, "_grids", grids)
    return calls


def test_all_checks_and_a_comparison_read_each_epsilons_predictions_once(monkeypatch):
    read, real = Counter(), transfer.TransferGrid._right_under

    def counted(grid, attacks, epsilon, scored, before):
        read[attacks, epsilon] += 1
        return real(grid, attacks, epsilon, scored, before)

    monkeypatch.setattr(transfer.TransferGrid, "_right_under", counted)
    outcomes = random_outcomes(cards=3, seeds=3)
    findings(outcomes)
    comparison.Comparison(outcomes).all_verdicts()
    summary.summary_rows(outcomes)
    everything = {place: times for place, times in read.items() if place[0] == ("fgsm", "bim")}
    assert everything == {(("fgsm", "bim"), epsilon): 1 for epsilon in outcomes.epsilons}


def test_one_report_finds_intervals_and_regimes_of_each_norm_once_and_builds_grids_once(counted, tmp_path):
    first = of_two_norms(random_outcomes(cards=2, seeds=2))
    second = replace(random_outcomes(cards=2, seeds=2), dataset="cifar10", title="CIFAR-10")
    results = Results([first, second])
    write_report(results, tmp_path / "report")
    results.summary()
    assert counted["intervals"] == {(first.dataset, "linf"): 1, (first.dataset, "l2"): 1, ("cifar10", "linf"): 1}
    assert counted["grids"] == {first.dataset: 1, "cifar10": 1}
    assert set(counted["regimes"].values()) == {1}
    assert len(counted["regimes"]) == 3  # one pair: two norms of one data set, one of the other
