"""Figures show the numbers that the results hold, say what they show, and are the same every time."""

import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from statsmodels.stats.proportion import proportion_confint

from robustbench_ekdaa.analysis.results import WHITE_BOX, WORST_CASE, Results
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering import (
    plot_attack_matrices,
    plot_curves,
    plot_examples,
    plot_transfer_matrix,
    plot_who_is_fooled,
)
from robustbench_ekdaa.rendering.curves import place_labels
from robustbench_ekdaa.rendering.examples import amplification
from robustbench_ekdaa.rendering.pictures import slug_of
from robustbench_ekdaa.rendering.style import looks, save_figure, shortened

from ..support.figures import LONG, panel, texts
from ..support.made_outcomes import make_outcomes, random_outcomes

DRAWERS = [plot_curves, plot_who_is_fooled, plot_transfer_matrix, plot_attack_matrices, plot_examples]


def test_the_lines_are_the_means_over_seeds_and_the_bands_their_range_or_wilsons_interval(real):
    figure = plot_curves(real)
    curves = Results([real]).curves()
    for title, attack in (
        ("FGSM", "fgsm"),
        ("Worst case of the 2 attacks", WORST_CASE),
        ("White-box: attacks on the model itself", WHITE_BOX),
        ("NOISE", "noise"),
    ):
        part = 100 * curves[curves["attack"] == attack].set_index(["model", "epsilon"])["accuracy"]
        axes = panel(figure, title)
        for line, name in zip(axes.lines, ("mlp", "linear"), strict=False):
            mean = part[name].groupby("epsilon").mean()
            np.testing.assert_allclose(line.get_xydata(), np.c_[mean.index, mean], atol=1e-9)
        band = axes.collections[0].get_paths()[0].vertices
        lowest, highest = part["mlp"].groupby("epsilon").min(), part["mlp"].groupby("epsilon").max()
        for epsilon, mean in part["mlp"].groupby("epsilon").mean().items():
            low, high = proportion_confint(2 * mean, 200, method="wilson")
            at = band[np.isclose(band[:, 0], epsilon)][:, 1]
            expected = min(100 * low, lowest[epsilon]), max(100 * high, highest[epsilon])
            assert (at.min(), at.max()) == pytest.approx(expected)


@pytest.mark.parametrize(("images", "seeds"), [(6, 3), (400, 1), (400, 3)])
def test_bands_are_at_least_wilsons_where_images_are_few_or_nothing_varies(images, seeds):
    outcomes = random_outcomes(cards=2, seeds=seeds, images=images, attacks=("fgsm",), examples=())
    easy = tuple(replace(cell, predictions=outcomes.labels) for cell in outcomes.cells)
    figure = plot_curves(replace(outcomes, cells=easy))
    corners = panel(figure, "FGSM").collections[0].get_paths()[0].vertices
    at = corners[np.isclose(corners[:, 0], 0.2)][:, 1]
    assert (at.min(), at.max()) == pytest.approx(
        [100 * end for end in proportion_confint(images, images, method="wilson")]
    )
    assert "Wilson" in figure.get_supxlabel()


def test_a_matrix_says_how_well_its_images_tell_a_cell():
    outcomes = random_outcomes(cards=2, seeds=1, images=6, attacks=("fgsm", "bim"), examples=())
    low, high = proportion_confint(3, 6, method="wilson")
    for draw in (plot_transfer_matrix, plot_attack_matrices):
        caption = " ".join(draw(outcomes).get_supxlabel().split())
        assert f"6 images: each known to ±{50 * (high - low):.1f} or better (95 %)." in caption


@pytest.mark.filterwarnings("error")  # Matplotlib warns of what has no room
@pytest.mark.parametrize(("cards", "seeds"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("title", ["EKDAA", "A model of three words and more, whose title is long"])
def test_small_matrices_have_room_for_what_they_say(tmp_path, cards, seeds, title):
    titles = dict.fromkeys(("backprop", "ekdaa"), title)
    outcomes = random_outcomes(cards=cards, seeds=seeds, images=20, titles=titles)
    for draw in (plot_transfer_matrix, plot_attack_matrices):
        save_figure(draw(outcomes), tmp_path / draw.__name__)


def test_axes_have_units_and_chance_and_all_of_the_range(real):
    figure = plot_curves(real)
    first = figure.axes[0]
    assert first.get_ylim() == (0, 100)
    assert first.get_xlim() == (0, 0.4)
    assert first.get_ylabel() == "accuracy (%)"
    lowest = {axes.get_subplotspec().colspan.start: axes for axes in figure.axes}
    for axes in lowest.values():
        assert "pixels in [0, 1]" in axes.get_xlabel()
        assert axes.xaxis.label.get_visible()
    assert any(np.allclose(line.get_ydata(), 10) and len(line.get_ydata()) == 2 for line in first.lines)
    caption = " ".join(figure.get_supxlabel().split())
    assert "bands reach from the lowest to the highest training seed" in caption
    assert "none is the target itself" in caption
    assert "200 test images" in caption


def test_the_caption_says_that_no_surrogate_shares_the_targets_start_only_where_that_is_true():
    several, one = (plot_curves(random_outcomes(cards=2, seeds=seeds)).get_supxlabel() for seeds in (2, 1))
    assert "started from its weights" in " ".join(several.split())
    assert "started" not in one


def test_a_card_has_one_colour_in_every_figure_and_report():
    small, large = random_outcomes(cards=2), Results([random_outcomes(cards=5), random_outcomes(cards=11, seeds=1)])
    for name in ("backprop", "ekdaa"):
        assert looks(small)[name].colour == looks(large)[name].colour
    drawn = looks(large)
    assert len({(look.colour, look.dashes) for look in drawn.values()}) == 11
    line = panel(plot_curves(small), "FGSM").lines[0]
    assert line.get_color() == drawn["backprop"].colour


def test_few_lines_are_labelled_at_their_ends_and_many_in_a_legend():
    few, many = plot_curves(random_outcomes(cards=3)), plot_curves(random_outcomes(cards=11, seeds=1))
    assert not few.legends
    assert sum(text == "EKDAA" for text in texts(few)) == 2  # the last panel of each row
    assert [text.get_text() for text in many.legends[0].get_texts()][:2] == ["BACKPROP", "EKDAA"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(2, 12))
def test_labels_never_overlap_keep_their_order_and_stay_in_the_panel(heights, gap):
    placed = place_labels(heights, gap)
    if placed is None:
        return
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(placed)[order]) >= gap - 1e-6).all()
    assert min(placed) >= gap / 2 - 1e-6
    assert max(placed) <= 100 - gap / 2 + 1e-6


def test_labels_with_room_stay_where_their_lines_end():
    assert place_labels([10, 50, 90], 6) == [10, 50, 90]
    assert place_labels([50, 50], 6) == pytest.approx([47, 53])
    assert place_labels([50.0] * 12, 6) is None


def test_the_matrix_shows_every_pair_and_frames_white_box(real):
    figure = plot_transfer_matrix(real, attack="fgsm", epsilon=0.2)
    axes = figure.axes[0]
    shown = np.ma.filled(axes.collections[0].get_array(), np.nan).reshape(3, 3)
    frame = Results([real]).frame().query("attack == 'fgsm' and epsilon == 0.2")
    expected = 100 * frame["accuracy"].to_numpy().reshape(3, 3)
    np.testing.assert_allclose(shown, expected)
    assert {f"{value:.0f}" for value in expected.ravel()} <= set(texts(figure))
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert sorted(round(patch.get_x()) for patch in frames) == [0, 1, 2]
    assert all(round(patch.get_x()) == round(patch.get_y()) for patch in frames)


def test_the_matrix_of_the_worst_case_is_below_those_of_the_attacks(real):
    def values(**which):
        return plot_transfer_matrix(real, epsilon=0.2, **which).axes[0].collections[0].get_array()

    assert (values() <= np.minimum(values(attack="fgsm"), values(attack="bim")) + 1e-9).all()


def test_a_pair_without_outcomes_is_an_empty_cell():
    labels = np.zeros(4, int)
    predictions = {("a0", "b0", "fgsm", 0.1): [0, 0, 1, 1], ("b0", "b0", "fgsm", 0.1): [1, 1, 1, 1]}
    outcomes = make_outcomes([("a", 0), ("b", 0)], labels, {"a0": labels, "b0": labels}, predictions)
    shown = plot_transfer_matrix(outcomes).axes[0].collections[0].get_array().reshape(2, 2)
    assert shown.mask.tolist() == [[True, False], [True, False]]


def test_every_attack_has_its_small_matrix(real):
    figure = plot_attack_matrices(real, epsilon=0.2)
    for attack in ("fgsm", "bim"):
        image = panel(figure, attack.upper()).images[0].get_array()
        large = plot_transfer_matrix(real, attack=attack, epsilon=0.2).axes[0].collections[0].get_array()
        np.testing.assert_allclose(image, large.reshape(3, 3))


def test_the_examples_show_the_stored_images_and_what_the_others_said(real):
    figure = plot_examples(real, epsilon=0.2, count=1)
    clean, adversarial, change = (axes.images[0].get_array() for axes in figure.axes[:3])
    stored = next(one for one in real.examples if one.attack == "fgsm" and one.epsilon == 0.2)
    np.testing.assert_array_equal(clean, real.images[0, 0])
    np.testing.assert_array_equal(adversarial, stored.images[0, 0])
    np.testing.assert_allclose(change, np.clip(0.5 + 2 * (stored.images[0, 0] - real.images[0, 0]), 0, 1), atol=1e-6)
    assert all(axes.images[0].get_interpolation() == "nearest" for axes in figure.axes)
    assert "change ×2" in texts(figure)
    predictions = {cell.target: cell.predictions[0] for cell in real.cells if _is(cell, "mlp0", "fgsm", 0.2)}
    assert f"MLP: {predictions['mlp1']}" in texts(figure)  # not what mlp0 predicts: the images were made on it
    assert f"LINEAR: {predictions['linear0']}" in texts(figure)
    assert f"is: {real.labels[0]}" in texts(figure)


def _is(cell, surrogate, attack, epsilon):
    return (cell.surrogate, cell.attack, cell.epsilon) == (surrogate, attack, epsilon)


def test_colour_and_oblong_images_keep_their_colours_and_shape():
    grey = random_outcomes(cards=2, seeds=1)
    draw = np.random.default_rng(0)
    images = draw.random((3, 3, 6, 10)).astype(np.float32)
    examples = tuple(replace(one, images=images) for one in grey.examples)
    figure = plot_examples(replace(grey, images=images, examples=examples))
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), images[0].transpose(1, 2, 0))
    box = figure.axes[0].get_position().transformed(figure.transSubfigure)
    assert box.height / box.width == pytest.approx(6 / 10)


def test_the_change_is_amplified_by_a_round_factor_that_clips_nothing():
    assert amplification([np.full((1, 2, 2), 0.2)]) == 2
    assert amplification([np.full((1, 2, 2), 8 / 255)]) == 10
    assert amplification([np.full((1, 2, 2), 0.9)]) == 1


@pytest.mark.parametrize("drawer", DRAWERS)
@pytest.mark.parametrize(
    "made",
    [
        {"cards": 2, "seeds": 1, "attacks": ("fgsm",)},
        {"cards": 11, "seeds": 1, "epsilons": 9, "classes": 100, "titles": {"rule3": LONG, "rule4": LONG}},
        {"cards": 3, "seeds": 3, "attacks": ("fgsm", "bim", "pgd", "mi_fgsm"), "titles": {"ekdaa": LONG}},
    ],
    ids=["two cards", "eleven cards", "four attacks"],
)
def test_nothing_is_cut_off_and_no_title_is_read_as_a_formula(drawer, made):
    figure = drawer(random_outcomes(**made))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    page = figure.bbox
    for text in figure.findobj(lambda one: hasattr(one, "get_text")):
        if text.get_visible() and text.get_text().strip() and text.figure is not None:
            box = text.get_window_extent()
            inside = box.x0 >= -1 and box.x1 <= page.x1 + 1 and box.y0 >= -1 and box.y1 <= page.y1 + 1
            assert inside or not _drawn(text), text.get_text()


def _drawn(text):
    """Tick labels outside their axis' view exist but are not drawn."""
    axes = text.axes
    if axes is None:
        return True
    for axis in (axes.xaxis, axes.yaxis):
        if text in axis.get_ticklabels(which="both"):
            return text.get_clip_on() or text.get_text() in [tick.label1.get_text() for tick in axis._update_ticks()]
    return True


@pytest.mark.parametrize("drawer", DRAWERS)
def test_the_same_results_give_the_same_bytes_and_no_global_figure(drawer, tmp_path):
    made = {"cards": 2, "seeds": 1, "attacks": ("fgsm",), "noise": False}
    for name in ("one", "two"):
        save_figure(drawer(Results([random_outcomes(**made)])), tmp_path / name)
    for ending in ("png", "pdf"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert plt.get_fignums() == []


def test_cards_of_the_same_title_are_told_apart():
    labels = {look.label for look in looks(random_outcomes(titles={"backprop": "Same", "ekdaa": "Same"})).values()}
    assert {"Same (backprop)", "Same (ekdaa)"} <= labels


# Names and titles hold no control characters: `check_dataset` and cards refuse them.
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80),
    st.integers(8, 30),
    st.integers(1, 3),
)
def test_a_shortened_label_fits_and_says_when_something_is_missing(label, width, lines):
    label = " ".join(label.split())
    short = shortened(label, width, lines)
    assert all(len(line) <= width for line in short.split("\n"))
    assert short.count("\n") < lines
    joined = "".join(short.split())
    assert joined == "".join(label.split()) or joined.endswith("…")


@pytest.mark.parametrize("drawer", DRAWERS)
def test_several_data_sets_need_a_name(drawer):
    results = Results([random_outcomes(), random_outcomes(dataset="other")])
    with pytest.raises(UsageError, match="say which"):
        drawer(results)
    with pytest.raises(UsageError, match="Did you mean other"):
        drawer(results, dataset="othr")
    assert any("Other" in text for text in texts(drawer(results, dataset="other")))


@pytest.mark.parametrize("drawer", DRAWERS)
def test_nothing_to_draw_is_told(drawer):
    with pytest.raises(UsageError, match="made: "):
        drawer(replace(random_outcomes(), cells=(), examples=()))


def test_wrong_attacks_and_sizes_are_told(real):
    with pytest.raises(UsageError, match="Did you mean fgsm"):
        plot_transfer_matrix(real, attack="fgms")
    with pytest.raises(UsageError, match="Choose one of"):
        plot_transfer_matrix(real, epsilon=0.15)
    with pytest.raises(UsageError, match="norm"):
        plot_transfer_matrix(real, norm="l2")


def test_two_names_never_share_a_file_name_or_an_anchor():
    names = ["a b", "a_b", "a/b", "数字", "文字", "digits", "my_data-1.0"]
    slugs = [slug_of(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert slugs[1] == "a_b"
    assert slugs[-2:] == names[-2:]
    assert all(slug.isascii() and "/" not in slug and " " not in slug for slug in slugs)
