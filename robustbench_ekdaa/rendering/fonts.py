"""Fonts that have the letters of titles and class names: those of Matplotlib, else what is installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from ..text import one_line
from .backend import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.text import Text

MATPLOTLIB_FONT = "DejaVu Sans"  # comes with Matplotlib: Latin, Greek, Cyrillic and more
# Asked before all others, since they were made to be read on a screen beside it.
GOOD = (
    *(f"Noto Sans {script}" for script in ("CJK SC", "CJK JP", "CJK KR", "CJK TC", "SC", "JP", "KR", "TC")),
    *("Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("PingFang SC", "PingFang HK", "Hiragino Sans", "Hiragino Sans GB", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Noto Sans"),
)
BOXES = "Last Resort"  # has a box for every letter


def readable(title: str, instead: str) -> str:
    """Return a title as figures can draw it: in one line, and `instead` of one whose letters no installed font has."""
    title = one_line(title)
    if not title or _without_font(title):
        title = one_line(instead)
    return title


def plain_text(texts: Iterable[Text]) -> None:
    """Draw texts as they are written: with fonts that have their letters, and a dollar sign starts no formula."""
    for text in texts:
        text.set_parse_math(False)
        if _foreign(text.get_text()):
            lacking = _without_font(text.get_text())
            text.set_text("".join("?" if letter in lacking else letter for letter in text.get_text()))
            text.set_fontfamily([*text.get_fontfamily(), *_fonts_for(_foreign(text.get_text()))])


def _without_font(text: str) -> frozenset[str]:
    """Return the letters of a text that no installed font has, and say so, once."""
    foreign = _foreign(text)
    lacking = foreign.difference(*map(_letters, _fonts_for(foreign)))
    if lacking:
        _say_once()
    return lacking


def _foreign(text: str) -> frozenset[str]:
    """Return the letters of a text that Matplotlib's own font lacks."""
    return frozenset() if text.isascii() else frozenset(text) - _letters(MATPLOTLIB_FONT) - {"\n"}


@cache
def _fonts_for(letters: frozenset[str]) -> tuple[str, ...]:
    """Return as few installed fonts as it takes to have these letters, or as many of them as any has."""
    found, left = [], letters
    for family in _installed() if letters else ():
        if left & _letters(family):
            found.append(family)
            left -= _letters(family)
        if not left:
            break
    return tuple(found)


def _installed() -> Iterator[str]:
    import_matplotlib()
    from matplotlib.font_manager import fontManager

    names = {font.name for font in fontManager.ttflist if not font.name.startswith(BOXES)}
    yield from (name for name in GOOD if name in names)
    yield from sorted(names.difference(GOOD))


@cache
def _letters(family: str) -> frozenset[str]:
    import_matplotlib()
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    faces = [font for font in fontManager.ttflist if font.name == family]
    plain = min(faces, key=lambda font: (font.style != "normal", font.weight != 400), default=None)
    try:
        return frozenset(map(chr, FT2Font(plain.fname).get_charmap())) if plain else frozenset()
    except (OSError, RuntimeError):  # it was removed, or cannot be read
        return frozenset()


@cache
def _say_once() -> None:
    warnings.warn(
        "no installed font has all letters of the titles and class names: in figures, names of cards and numbers of "
        "classes stand in their place. Install such a font, for Chinese, Japanese and Korean Noto Sans CJK.",
        stacklevel=2,
    )
