"""The figure and the table on the terminal of who is fooled by whom: right, whole, and readable."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from rich.console import Console

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering import fooled_tables, plot_who_is_fooled

from ..support.figures import texts
from ..support.healthy_runs import healthy
from ..support.made_outcomes import random_outcomes, with_constant


def caption_of(figure):
    return " ".join(figure.get_supxlabel().split())


def shown(figure):
    """Return the numbers of all panels, (rows, targets)."""
    return np.concatenate([np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes if axes.images])


def many(cards=20, targets=15):
    made = random_outcomes(cards=cards, seeds=1, attacks=("fgsm",), epsilons=1, images=20, noise=False, examples=())
    return replace(made, targets=tuple(made.models)[:targets])


def printed(results):
    out = io.StringIO()
    Console(file=out, width=100).print(fooled_tables(results))
    return out.getvalue()


def test_cells_are_the_tables_numbers_with_their_intervals(real):
    figure, rows = plot_who_is_fooled(real, epsilon=0.2), Results([real]).who_is_fooled(0.2)
    expected = 100 * np.stack([rows[rows["target"] == name]["accuracy"] for name in ("mlp", "linear")], axis=1)
    np.testing.assert_allclose(shown(figure), expected)
    for row in rows[rows["n_seeds"] > 0].itertuples():
        assert f"{100 * row.accuracy:.0f}" in texts(figure)
        assert f"{100 * row.accuracy_low:.0f}–{100 * row.accuracy_high:.0f}" in texts(figure)
    assert "200 images" in caption_of(figure)


def test_foreign_surrogates_stand_apart_and_the_targets_own_rule_is_framed():
    figure = plot_who_is_fooled(healthy(seeds=3, images=100))
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.images}
    near, foreign, together = panels.values()
    assert "foreign" in list(panels)[1]
    assert [tick.get_text() for tick in foreign.get_yticklabels()] == ["WIDE_BACKPROP", "WIDE_EKDAA", "WIDE_FA"]
    frames = [[patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in panels.values()]
    assert list(map(len, frames)) == [2, 2, 0]
    assert [tick.get_text() for tick in together.get_yticklabels()] == [
        "mean over these cards",
        "on itself (white-box)",
    ]
    assert "foreign" not in caption_of(figure)
    assert len(near.get_yticklabels()) == 2


def test_the_caption_says_what_is_not_there():
    one = caption_of(plot_who_is_fooled(random_outcomes(cards=2, seeds=1)))
    for part in ("No surrogate is foreign", "Grey: not attacked", "1 training seed", "over images alone"):
        assert part in one
    stuck = plot_who_is_fooled(with_constant(random_outcomes(cards=2, seeds=2)))
    assert "not shown to beat chance and the frozen control: Stuck." in caption_of(stuck)
    assert "Stuck\n(not ranked)" in texts(stuck)


@pytest.mark.parametrize(("targets", "with_intervals"), [(15, True), (20, True), (24, False)])
def test_many_cards_stay_readable(targets, with_intervals):
    figure = plot_who_is_fooled(many(cards=max(20, targets), targets=targets))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    axes = next(axes for axes in figure.axes if axes.images)
    cell = axes.get_window_extent().width / targets
    assert boxes
    assert max(box.width for box in boxes) <= cell
    assert ("interval over images and training" in caption_of(figure)) == with_intervals
    labels = figure.axes[1].get_xticklabels()
    extents = [label.get_window_extent() for label in labels]
    assert all(one.x1 <= other.x0 + 1 for one, other in pairwise(extents))


def test_of_two_norms_one_is_drawn_and_others_are_asked_for():
    made = random_outcomes(cards=2, seeds=2)
    both = replace(made, attacks={**made.attacks, "bim": replace(made.attacks["bim"], norm="l2")})
    assert any("ℓ∞" in text for text in texts(plot_who_is_fooled(both)))
    assert any("ℓ2" in text for text in texts(plot_who_is_fooled(both, norm="l2")))
    with pytest.raises(UsageError, match="norm"):
        plot_who_is_fooled(both, norm="l1")


def test_the_terminals_tables_hold_every_cell_and_fit_a_hundred_columns():
    for outcomes in (healthy(seeds=3, images=100), many(), with_constant(random_outcomes(cards=3, seeds=2))):
        results = Results([replace(outcomes, title="A [bold]title[/bold]")])
        text = printed(results)
        assert max(map(len, text.splitlines())) <= 100
        assert "A [bold]title[/bold]: who is fooled by whom" in text
        rows = results.who_is_fooled()
        for row in rows[rows["n_seeds"] > 0].itertuples():
            ends = ",".join(f"{100 * end:.0f}" for end in (row.accuracy_low, row.accuracy_high))
            assert f"{100 * row.accuracy:.0f} [{ends}]" in text
    assert "(not ranked)" in " ".join(text.split())
    assert "wide_fa (foreign)" in printed(Results([healthy(seeds=2, images=50)]))


def test_a_run_without_attacks_prints_no_table():
    assert printed(Results([replace(random_outcomes(), cells=())])).strip() == ""
