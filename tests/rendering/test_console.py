"""The table on the terminal fits, and shows what the summary holds."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering import summary_table

from ..support.made_outcomes import random_outcomes, without


def printed(results, width=100, epsilon=None):
    out = io.StringIO()
    Console(file=out, width=width).print(summary_table(results, epsilon))
    return out.getvalue()


def test_every_card_has_its_row_with_interval_area_and_eps_50(real):
    text = printed(Results([real]), epsilon=0.2)
    row = Results([real]).summary(0.2).set_index("model").loc["mlp"]
    (line,) = (line for line in text.splitlines() if line.startswith("MLP"))
    for part in (
        f"{100 * row['clean_accuracy']:.1f} ± {100 * row['clean_accuracy_sd']:.1f}",
        f"{100 * row['transfer_accuracy']:.1f} [{100 * row['transfer_accuracy_low']:.1f}, "
        f"{100 * row['transfer_accuracy_high']:.1f}]",
        f"{row['area']:.3f}",
        f"{row['eps_50']:.3f}",
    ):
        assert part in line
    assert "no ranking" in text
    assert "at ε = 0.2 (%)" in text


@pytest.mark.parametrize("cards", [2, 11])
def test_it_fits_a_hundred_columns_whatever_the_titles(cards):
    long = "A learning rule whose title is [bold]long[/bold] beyond all measure of tables"
    made = random_outcomes(cards=cards, seeds=2, titles={"ekdaa": long})
    hurt = without(made, "backprop1")
    text = printed(Results([hurt, replace(made, dataset="second", title="A data set of a very long title")]))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "…" not in text
    assert "[bold]" in text  # a title is no markup
    assert "1 of 2 seeds" in text


def test_a_curve_that_stays_above_half_says_so():
    outcomes = random_outcomes(cards=2, seeds=1)
    easy = tuple(replace(cell, predictions=outcomes.clean[cell.target]) for cell in outcomes.cells)
    assert "> 0.4" in printed(Results([replace(outcomes, cells=easy)]))


def test_a_run_without_attacks_shows_clean_accuracy():
    text = printed(Results([replace(random_outcomes(), cells=())]))
    assert "BACKPROP" in text
    assert "–" in text


def test_an_unknown_epsilon_is_told(real):
    with pytest.raises(UsageError, match="Choose one of"):
        printed(Results([real]), epsilon=0.25)
