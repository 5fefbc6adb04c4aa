"""The figures of training show what the logs hold, name their lines, and cut nothing off."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

import robustbench_ekdaa as rb
from robustbench_ekdaa.analysis.trainings import Trainings, read_trainings
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering import plot_alignment, plot_training
from robustbench_ekdaa.rendering.style import save_figure
from robustbench_ekdaa.storing.outcomes import ModelRecord

from ..support.figures import LONG, panel

UPDATE, FEEDBACK = "Angle of update to true gradient (degrees)", "Angle of feedback to weight (degrees)"


@pytest.fixture(scope="module")
def real(trained):
    return read_trainings(trained / "run")


def made(layers=4, seeds=3, epochs=5, cards=1, feedback=True, title="Made", first=0):
    """Draw trainings whose angles start near 90 and fall, the more the nearer to the readout."""
    draw, models, lines, angles = np.random.default_rng(0), {}, [], []
    for card in range(cards):
        for seed in range(seeds):
            key, name = f"{card}{seed}", f"card{card}"
            models[key] = ModelRecord(key, name, f"{title} {card}", "rule", "digits", seed)
            about = {"key": key, "dataset": "digits", "model": name, "rule": "rule", "seed": seed}
            for epoch in range(first, epochs + 1):
                if epoch:
                    lines.append({**about, "epoch": epoch, "loss": 2 / epoch + draw.random(), "accuracy": 0.5})
                for layer in range(layers):
                    where = {"epoch": epoch, "layer": "readout" if layer == layers - 1 else f"linear{layer + 1}"}
                    back = {"feedback_angle": 90 - layer, "feedback_norm_ratio": 1.1} if feedback and layer else {}
                    down = max(90 - 10 * epoch * layer / layers + 5 * draw.normal(), 0)
                    angles.append({**about, **where, "update_angle": down, "update_norm_ratio": 0.1**layer, **back})
    columns = ["feedback_angle", "feedback_norm_ratio"]
    frame = pd.DataFrame(angles)
    frame = frame.assign(**{column: np.nan for column in columns if column not in frame})
    return Trainings(models, pd.DataFrame(lines), frame, {"digits": "Digits"})


def check_line(axes, line, part, column, scale=1.0):
    seeds = scale * part.groupby("epoch")[column].agg(["mean", "min", "max"])
    np.testing.assert_allclose(line.get_xydata(), np.c_[seeds.index, seeds["mean"]])
    return seeds


def test_the_lines_are_layers_means_over_seeds_and_the_bands_their_range(real):
    axes = panel(plot_alignment(real, "quick_fa"), UPDATE)
    frame = real.layers[real.layers["model"] == "quick_fa"]
    layers = ["conv1", "linear2", "readout"]
    assert list(dict.fromkeys(frame["layer"])) == layers
    for line, band, layer in zip(axes.lines, axes.collections, layers, strict=False):
        seeds = check_line(axes, line, frame[frame["layer"] == layer], "update_angle")
        corners = band.get_paths()[0].vertices
        for epoch in (0, 1, 2):
            at = corners[np.isclose(corners[:, 0], epoch)][:, 1]
            assert (at.min(), at.max()) == pytest.approx(tuple(seeds.loc[epoch, ["min", "max"]]), abs=1e-4)


def test_the_curves_are_cards_means_of_loss_and_accuracy_in_per_cent(real):
    figure = plot_training(real)
    for title, column, scale in (
        ("Training loss (cross-entropy)", "loss", 1),
        ("Training accuracy (%)", "accuracy", 100),
    ):
        axes = panel(figure, title)
        cards = ["quick_fa", "quick_bp", "quick_frozen", "quick_mine"]
        for line, name in zip(axes.lines, cards, strict=True):
            check_line(axes, line, real.epochs[real.epochs["model"] == name], column, scale)
    assert len({line.get_color() for line in axes.lines}) == len(cards)
    assert "mean over 1 to 2 training seeds; bands reach from the lowest to the highest" in " ".join(
        figure.get_supxlabel().split()
    )


def test_feedback_has_panels_only_where_there_is_feedback(real):
    def titles(name):
        return {axes.get_title(loc="left") for axes in plot_alignment(real, name).axes}

    assert titles("quick_bp") == {UPDATE, "Norm of update / norm of true gradient"}
    assert titles("quick_fa") == titles("quick_bp") | {FEEDBACK, "Norm of feedback / norm of weight"}


def test_three_panels_leave_no_empty_fourth(real):
    three = replace(real, layers=real.layers.assign(feedback_norm_ratio=float("nan")))
    figure = plot_alignment(three, "quick_fa")
    assert len(figure.axes) == 3


def test_ninety_degrees_is_a_thin_line_called_unrelated_and_ratios_are_on_a_logarithmic_axis(real):
    figure = plot_alignment(real, "quick_fa")
    axes = panel(figure, UPDATE)
    (mark,) = (line for line in axes.lines if list(line.get_ydata()) == [90, 90])
    assert mark.get_linewidth() < 1
    assert axes.yaxis.get_major_formatter()(90) == "unrelated  90"
    assert panel(figure, "Norm of update / norm of true gradient").get_yscale() == "log"


def test_a_layer_that_does_not_learn_has_no_line_and_the_caption_says_so(real):
    figure = plot_alignment(real, "quick_frozen")
    assert "No angle of the update of conv1, linear2" in " ".join(figure.get_supxlabel().split())
    assert [text.get_text() for text in panel(figure, UPDATE).texts] == ["readout"]


@pytest.mark.parametrize("layers", [1, 4, 8])
def test_every_layer_is_named_at_its_line_in_one_scale_of_colours_from_input_to_readout(layers):
    axes = panel(plot_alignment(made(layers), "card0"), UPDATE)
    named = {text.get_text(): text.get_color() for text in axes.texts}
    names = [f"linear{number}" for number in range(1, layers)] + ["readout"]
    assert set(named) == set(names)
    lightness = [np.dot(to_rgb(named[name]), (0.2126, 0.7152, 0.0722)) for name in names]
    assert lightness == sorted(lightness)
    assert len(set(lightness)) == layers
    assert [line.get_color() for line in axes.lines[:layers]] == [named[name] for name in names]


def test_of_very_many_layers_some_are_named_the_readout_among_them():
    named = [text.get_text() for text in panel(plot_alignment(made(24), "card0"), UPDATE).texts]
    assert "readout" in named
    assert 10 <= len(named) <= 16


def test_the_title_tells_rule_card_and_data_set_and_the_caption_epoch_zero_only_where_it_was_logged():
    old, new = (plot_alignment(made(first=first), "card0") for first in (1, 0))
    assert "rule rule, card card0" in new.get_suptitle()
    assert "Digits" in new.get_suptitle()
    assert "epoch 0: before training" in " ".join(new.get_supxlabel().split())
    assert "epoch 0" not in old.get_supxlabel()
    assert [figure.axes[0].get_xlim() for figure in (old, new)] == [(1, 5), (0, 5)]


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 1, "seeds": 1, "feedback": False, "epochs": 1, "first": 1},
        {"layers": 4, "seeds": 3, "title": LONG},
        {"layers": 8, "seeds": 3, "cards": 3, "title": LONG},
        {"layers": 8, "seeds": 1, "cards": 21, "feedback": False, "title": LONG},
    ],
    ids=["readout only", "four layers", "eight layers", "many cards"],
)
def test_nothing_is_cut_off_and_no_label_overlaps_another(shape):
    trainings = made(**shape)
    for figure in (plot_training(trainings), plot_alignment(trainings, "card0")):
        figure.draw_without_rendering()
        texts = [text for axes in figure.axes for text in axes.get_children() if isinstance(text, Text)]
        texts += [figure._suptitle, figure._supxlabel, *(text for one in figure.legends for text in one.get_texts())]
        # Of an annotation the extent would include its lead.
        boxes = {text: Text.get_window_extent(text) for text in texts if text.get_text()}
        for text, box in boxes.items():
            assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= -1, text
        # A box is a little higher than the letters in it.
        for one, other in itertools.combinations(boxes, 2):
            assert not boxes[one].padded(-2).overlaps(boxes[other].padded(-2)), (one, other)


def test_a_diverging_first_epoch_and_a_zero_update_have_an_axis():
    trainings = made(seeds=1)
    trainings.epochs.loc[0, "loss"] = 1e12
    trainings.layers.loc[:, "update_norm_ratio"] = 0.0
    trainings.layers.loc[:, "update_angle"] = np.nan
    plot_training(trainings).draw_without_rendering()
    figure = plot_alignment(trainings, "card0")
    figure.draw_without_rendering()
    assert {axes.get_title(loc="left") for axes in figure.axes} == {FEEDBACK, "Norm of feedback / norm of weight"}


@pytest.mark.parametrize("draw", [plot_training, lambda one: plot_alignment(one, "card0")])
def test_the_same_trainings_give_the_same_bytes(draw, tmp_path):
    for name in ("one", "two"):
        save_figure(draw(made(layers=1, seeds=2, epochs=2, feedback=False)), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_both_are_public_and_take_a_run_folder(trained):
    assert rb.plot_alignment(trained / "run", "quick_fa", dataset="digits").axes
    assert rb.plot_training(str(trained / "run")).axes


def test_wrong_names_are_told(real):
    with pytest.raises(UsageError, match=r"unknown model of this run 'quick_f'. Did you mean quick_fa"):
        plot_alignment(real, "quick_f")
    with pytest.raises(UsageError, match="digit"):
        plot_training(real, dataset="digit")
    two = replace(real, models={**real.models, "x": ModelRecord("x", "a", "A", "fa", "other", 0)})
    with pytest.raises(UsageError, match="say which"):
        plot_training(two)
    with pytest.raises(UsageError, match="no training log"):
        plot_training(two, dataset="other")
    with pytest.raises(UsageError, match="no angle was logged"):
        plot_alignment(two, "a", dataset="other")
