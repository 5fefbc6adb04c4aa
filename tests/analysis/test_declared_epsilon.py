"""Whoever looks at one epsilon looks at the one that the sweep declares before it runs, if it declares one."""

from dataclasses import replace

import numpy as np
import pytest

from robustbench_ekdaa.analysis.checks import PASS, RUN_CHECKS
from robustbench_ekdaa.analysis.comparison import Comparison
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.analysis.transfer import transfer_grids
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering.examples import plot_examples
from robustbench_ekdaa.rendering.transfer_matrix import finished_epsilon

from ..support.healthy_runs import CARDS, cells_with, healthy

DEFAULT, DECLARED = 0.1, 0.05  # of epsilons up to 0.25


@pytest.fixture(scope="module")
def sound():
    return healthy(images=300, epsilons=(DECLARED, DEFAULT, 0.15, 0.2, 0.25))


def declaring(outcomes, epsilon=DECLARED):
    return replace(outcomes, spec={**outcomes.spec, "verdict_epsilon": {"linf": epsilon}})


def planted(outcomes, faulty):
    """Change what `faulty` cells say at the declared epsilon alone."""
    return cells_with(outcomes, lambda cell: faulty(outcomes, cell) if cell.epsilon == DECLARED else None)


def turned(places):
    """Let one card keep a fifth of the images in some cells, the other in the rest."""

    def faulty(outcomes, cell):
        if cell.surrogate in (None, cell.target):
            return None
        lucky, right = np.arange(300) % 5 == 0, cell.target.startswith(CARDS[places(cell)])
        return np.where(lucky, outcomes.clean[cell.target] if right else outcomes.labels + 1, cell.predictions)

    return faulty


def upside_down(outcomes, cell):
    """Let one card keep more of what others craft, the other of what is crafted on itself."""
    better = CARDS[cell.surrogate == cell.target]
    lucky = np.arange(300) % 2 == 0
    kept = outcomes.clean[cell.target] if cell.target.startswith(better) else outcomes.labels + 1
    return None if cell.surrogate is None else np.where(lucky, kept, cell.predictions)


def lost(outcomes, cell):
    return outcomes.labels + 1 if cell.target.startswith("ekdaa") else None


def one_seed_lost(outcomes, cell):
    return outcomes.labels + 1 if cell.target == "ekdaa0" and cell.surrogate not in (None, cell.target) else None


FAULTS = {
    "sign_by_surrogate": turned(lambda cell: "ekdaa" in cell.surrogate),
    "sign_by_attack": turned(lambda cell: cell.attack == "bim"),
    "white_box_rank": upside_down,
    "sure_shares": lost,
    "seed_variance": one_seed_lost,
}


@pytest.mark.parametrize("check", FAULTS)
def test_a_check_sees_a_fault_at_the_declared_epsilon_and_only_there(sound, check):
    def told(outcomes):
        return [one.status for one in RUN_CHECKS[check].measure(outcomes) if one.status != PASS]

    broken = planted(sound, FAULTS[check])
    assert told(broken) == []
    assert len(told(declaring(broken))) == 1
    assert told(declaring(sound)) == []


def test_summary_tables_and_figures_stand_at_the_declared_epsilon(sound):
    for outcomes, epsilon in ((sound, DEFAULT), (declaring(sound), DECLARED)):
        results = Results([outcomes])
        for rows in (results.summary(), results.who_is_fooled(), results.optimality()):
            assert set(rows["epsilon"]) == {epsilon}
        (grid,) = transfer_grids(outcomes)
        assert finished_epsilon(grid, None) == Comparison(outcomes).epsilon == epsilon
        assert any(f"ε = {epsilon:g}" in text.get_text() for text in plot_examples(results).texts)
        assert set(results.summary(0.15)["epsilon"]) == {0.15}


def test_a_declared_epsilon_that_not_all_attacks_reached_gives_way_to_the_default(sound):
    cells = tuple(cell for cell in sound.cells if cell.epsilon != DECLARED or cell.attack != "bim")
    outcomes = declaring(replace(sound, cells=cells))
    assert set(Results([outcomes]).summary()["epsilon"]) == {DEFAULT}
    assert Comparison(outcomes).epsilon == DEFAULT
    with pytest.raises(UsageError, match=r"epsilon 0\.05 was not scored"):
        Results([outcomes]).summary(DECLARED)
