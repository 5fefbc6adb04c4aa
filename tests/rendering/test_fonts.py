"""Titles and class names in every script are drawn with a font that has their letters, or something else is read."""

import warnings
from dataclasses import replace

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from robustbench_ekdaa.rendering import fonts, plot_attack_matrices, plot_curves, plot_examples, plot_transfer_matrix
from robustbench_ekdaa.rendering.style import looks, save_figure, shortened, wrapped

from ..support.made_outcomes import random_outcomes

DRAWERS = [plot_curves, plot_transfer_matrix, plot_attack_matrices, plot_examples]
TITLES = {"ekdaa": "手写数字的学习规则", "backprop": "Rückwärts ε"}
CLASSES = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九")
LETTERS = sorted({*"手写数字的学习规则攻击", *"".join(CLASSES)})
NAME = "A font made for tests"


@pytest.fixture(autouse=True)
def no_memory():
    """Forget before and after which letters were found where, and what was said."""

    def forget():
        for function in (fonts._letters, fonts._fonts_for, fonts._say_once):
            function.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def installed(tmp_path):
    """A real font with a black square for each Chinese letter used here."""
    pen = TTGlyphPen(None)
    for place, move in zip(((0, 0), (0, 900), (900, 900), (900, 0)), (pen.moveTo, *[pen.lineTo] * 3), strict=True):
        move(place)
    pen.closePath()
    glyphs = [".notdef", *(f"uni{ord(letter):04X}" for letter in LETTERS)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(letter): f"uni{ord(letter):04X}" for letter in LETTERS})
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": NAME, "styleName": "Regular", "psName": "MadeForTests"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "made.ttf")
    font_manager.fontManager.addfont(tmp_path / "made.ttf")
    yield NAME
    font_manager.fontManager.ttflist = [one for one in font_manager.fontManager.ttflist if one.name != NAME]


@pytest.fixture
def foreign():
    made = random_outcomes(cards=3, seeds=2, titles=TITLES)
    attacks = {key: replace(record, title="攻击") for key, record in made.attacks.items()}
    return replace(made, title="手写数字", classes=CLASSES, attacks=attacks)


def texts(figure):
    return [
        text for text in figure.findobj(lambda one: hasattr(one, "get_text")) if text.get_text() and text.get_visible()
    ]


@pytest.mark.parametrize("draw", DRAWERS)
def test_a_font_that_has_the_letters_is_found_and_draws_them(foreign, installed, draw, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(foreign)
        save_figure(figure, tmp_path / "figure")
    chinese = [text for text in texts(figure) if set(text.get_text()) & set(LETTERS)]
    assert any("手写数字" in text.get_text() for text in chinese)
    assert all(installed in text.get_fontfamily() for text in chinese)
    assert all(installed not in text.get_fontfamily() for text in texts(figure) if text not in chinese)
    assert b"MadeForTests" in (tmp_path / "figure.pdf").read_bytes()


@pytest.mark.parametrize("draw", DRAWERS)
def test_without_one_names_and_numbers_are_drawn_and_one_line_says_so(foreign, draw, tmp_path):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        figure = draw(foreign)
        save_figure(figure, tmp_path / "figure")
    assert [str(one.message).split(":")[0] for one in warned] == [
        "no installed font has all letters of the titles and class names"
    ]
    assert "\n" not in str(warned[0].message)
    written = "\n".join(text.get_text() for text in texts(figure))
    assert not set(written) & set(LETTERS)
    assert "?" not in written
    assert foreign.dataset in written
    assert "Rückwärts ε" in written or draw is plot_attack_matrices
    if draw is plot_examples:
        assert "is: class " in written


def test_the_look_of_a_card_without_a_font_has_its_name(foreign):
    with pytest.warns(UserWarning, match="Noto Sans CJK"):
        labels = {name: look.label for name, look in looks(foreign).items()}
    assert (labels["ekdaa"], labels["backprop"]) == ("ekdaa", "Rückwärts ε")


def test_a_title_that_holds_controls_is_drawn_in_one_line_without_them():
    assert fonts.readable("a\nb \x1b[31m\u202e", "name") == "a b \\x1b[31m\\u202e"
    assert fonts.readable("", "name") == "name"


def test_wide_letters_count_as_two_where_labels_are_broken():
    assert shortened("手写数字", 8) == "手写数字"
    assert shortened("手写数字的学习规则", 8).split("\n") == ["手写数字", "的学习…"]
    assert shortened("手写数字", 7, 1) == "手写数…"
    assert wrapped("ab 手写 数字", 5) == ["ab", "手写", "数字"]


def test_square_glyphs_of_the_found_font_are_in_the_picture(foreign, installed, tmp_path):
    """Seen by their ink: a title of black squares is darker than one whose letters are boxes or nothing."""
    figure = plot_curves(foreign)
    figure.suptitle("").set_visible(False)
    title = figure.text(0.5, 0.99, "手写数字", va="top", fontsize=20)
    fonts.plain_text([title])
    save_figure(figure, tmp_path / "with")
    title.set_visible(False)
    save_figure(figure, tmp_path / "without")
    inks = [
        sum(255 - value for value in Image.open(tmp_path / f"{stem}.png").convert("L").tobytes())
        for stem in ("with", "without")
    ]
    square = (20 / 72 * 150 * 0.9) ** 2
    assert inks[0] - inks[1] == pytest.approx(4 * square * 255, rel=0.2)
