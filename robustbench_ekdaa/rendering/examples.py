"""What adversarial images look like: a row per attack, with the clean image, the change, and what targets predict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..analysis.results import Results
from ..analysis.summary import declared_epsilon, reference_epsilon
from ..analysis.transfer import transfer_grids
from ..errors import UsageError
from ..storing.keys import IMPORTED, CraftingKey
from ..storing.outcomes import Example, Outcomes
from .fonts import plain_text, readable
from .style import GREY, NORM_SIGNS, Look, caption, looks, new_figure, one_dataset, shortened, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CARDS = 4  # up to which every card's answers are listed
LINE_LENGTH = 38  # characters that fit under two images
Image = NDArray[np.float32]


def plot_examples(
    results: Results | Outcomes, *, epsilon: float | None = None, count: int = 2, dataset: str | None = None
) -> Figure:
    """Draw a few adversarial images of every attack.

    Args:
        results: what to draw.
        epsilon: the perturbation size (default: the one that the sweep declares as `verdict_epsilon`, else the one
            nearest to half of the largest).
        count: how many images, at most those that were kept.
        dataset: which data set, when the results hold several.

    Raises:
        UsageError: when no images were kept, or none at this epsilon.
    """
    outcomes = one_dataset(results, dataset)
    if not outcomes.examples or len(outcomes.images) == 0:
        raise UsageError(f"{outcomes.dataset}: no adversarial images were kept in this run")
    kept = sorted({0.0, *(example.epsilon for example in outcomes.examples)})
    declared = (declared_epsilon(grid) for grid in transfer_grids(outcomes))
    epsilon = reference_epsilon(kept, epsilon or next((one for one in declared if one in kept), None))
    shown = _one_per_attack([example for example in outcomes.examples if example.epsilon == epsilon], outcomes)
    count = min(count, len(outcomes.images), *(len(example.images) for example in shown))
    styles = looks(results)
    listed = len({outcomes.models[key].name for key in outcomes.targets}) <= MOST_CARDS
    sheet = _Sheet.of(outcomes.images.shape[2:], count, len(shown), len(styles) if listed else 2)
    factor = amplification([example.images[:count] - outcomes.images[:count] for example in shown])
    for row, example in enumerate(shown):
        for number in range(count):
            panels = [sheet.add_panel(row, 3 * number + column) for column in range(3)]
            _draw_triple(panels, outcomes, example, number, factor, styles, listed)
            if row == 0:
                for axes, title in zip(panels, ("clean", "adversarial", f"change ×{factor:g}"), strict=True):
                    axes.set_title(title, fontsize=9, pad=4)
            if number == 0:
                record = outcomes.attacks[example.attack]
                plain_text([panels[0].set_ylabel(shortened(title_of(record), 16), fontsize=9.5)])
    _explain(sheet.figure, outcomes, shown, epsilon, listed)
    return sheet.figure


@dataclass(frozen=True)
class _Sheet:
    """Where the images stand, in inches; fixed, so that long answers cannot push images apart."""

    figure: Figure
    width: float
    height: float
    row: float

    LEFT: ClassVar = 0.5
    TOP: ClassVar = 0.62
    BOTTOM: ClassVar = 0.42
    GAP: ClassVar = 0.08  # between the images of one triple
    BETWEEN: ClassVar = 0.3  # between triples
    LINE: ClassVar = 0.135  # of text

    @classmethod
    def of(cls, shape: Sequence[int], count: int, rows: int, lines: int) -> _Sheet:
        width = 1.05
        height = width * min(max(shape[0] / shape[1], 0.4), 2.5)
        row = height + cls.LINE * lines + 0.22
        across = cls.LEFT + count * (3 * width + 2 * cls.GAP + cls.BETWEEN)
        figure = new_figure(max(across, 6.2), cls.TOP + cls.BOTTOM + rows * row)
        figure.set_layout_engine("none")
        return cls(figure, width, height, row)

    def add_panel(self, row: int, column: int) -> Axes:
        across, down = self.figure.get_size_inches()
        left = self.LEFT + column * (self.width + self.GAP) + (column // 3) * (self.BETWEEN - self.GAP)
        bottom = down - self.TOP - row * self.row - self.height
        return self.figure.add_axes((left / across, bottom / down, self.width / across, self.height / down))


def _one_per_attack(examples: Sequence[Example], outcomes: Outcomes) -> list[Example]:
    """Keep one surrogate's images of every attack, in the order of the attacks."""
    first: dict[str, Example] = {}
    for example in examples:
        if len(example.images):
            first.setdefault(example.attack, example)
    return [first[key] for key in outcomes.attacks if key in first]


def amplification(changes: Sequence[Image]) -> float:
    """Return the round factor that makes the largest of some changes fill at most half of the range of grey."""
    largest = max((float(np.abs(change).max()) for change in changes if change.size), default=0.0)
    rounds = [factor * power for power in (1, 10, 100, 1000) for factor in (1, 2, 5)]
    return float(max((factor for factor in rounds if factor * largest <= 0.5 + 1e-6), default=1))


def _draw_triple(
    row: Sequence[Axes],
    outcomes: Outcomes,
    example: Example,
    number: int,
    factor: float,
    styles: dict[str, Look],
    listed: bool,
) -> None:
    clean, adversarial = outcomes.images[number], example.images[number]
    for axes, image in zip(row, (clean, adversarial, 0.5 + factor * (adversarial - clean)), strict=True):
        _draw_image(axes, image)
    _note(row[0], [(f"is: {_class_name(outcomes, int(outcomes.labels[number]))}", GREY)])
    _note(row[1], _answers(outcomes, example, number, styles, listed))


def _draw_image(axes: Axes, image: Image) -> None:
    """Draw one image (C, H, W) pixel by pixel, in grey or in colour."""
    pixels = np.clip(image, 0, 1).transpose(1, 2, 0)
    shade: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if pixels.shape[-1] == 1 else {}
    axes.imshow(pixels[..., 0] if shade else pixels, interpolation="nearest", **shade)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#bbbbbb", linewidth=0.6)


def _note(axes: Axes, lines: Sequence[tuple[str, str]]) -> None:
    """Write coloured lines under an image."""
    for place, (line, colour) in enumerate(lines):
        text = axes.annotate(
            shortened(line, LINE_LENGTH, 1),
            (0, 0),
            (0, -4 - 9.5 * place),
            "axes fraction",
            "offset points",
            va="top",
            fontsize=7,
            color=colour,
        )
        plain_text([text])


def _class_name(outcomes: Outcomes, number: int) -> str:
    if number >= len(outcomes.classes):
        return "nothing (NaN)"
    return shortened(readable(outcomes.classes[number], f"class {number}"), 14, 1)


def _answers(
    outcomes: Outcomes, example: Example, number: int, styles: dict[str, Look], listed: bool
) -> list[tuple[str, str]]:
    """Say what the other models predict for one adversarial image: card by card, or in two lines for many cards."""
    predictions: dict[str, Counter[int]] = {}
    cells = outcomes.cells
    places = cells.places(CraftingKey(example.surrogate, example.attack, example.epsilon))
    for (crafting, targets), classes in cells.predictions(places):
        for target, predicted in zip(targets, classes[:, number], strict=True):
            if outcomes.relation(crafting.surrogate, target) != "white-box":
                predictions.setdefault(outcomes.models[target].name, Counter())[int(predicted)] += 1
    if listed:
        return [
            (f"{_brief(styles[name].label)}: {_tally(outcomes, predictions[name])}", styles[name].colour)
            for name in predictions
        ]
    total: Counter[int] = sum(predictions.values(), Counter())
    if not total:
        return []
    right = total[int(outcomes.labels[number])]
    return [
        (f"right: {right} of {sum(total.values())} models", GREY),
        (f"predicted: {_tally(outcomes, total)}", GREY),
    ]


def _brief(label: str) -> str:
    return shortened(label, 14, 1)


def _tally(outcomes: Outcomes, predictions: Counter[int]) -> str:
    """Write answers with how often they were given, the most frequent first: ``4 ×2, 9``."""
    ranked = sorted(predictions.items(), key=lambda item: (-item[1], item[0]))
    parts = [_class_name(outcomes, number) + (f" ×{times}" if times > 1 else "") for number, times in ranked[:3]]
    return ", ".join(parts) + (", …" if len(ranked) > 3 else "")


def _explain(figure: Figure, outcomes: Outcomes, shown: Sequence[Example], epsilon: float, listed: bool) -> None:
    norms = " and ".join(dict.fromkeys(NORM_SIGNS.get(outcomes.attacks[one.attack].norm, "") for one in shown))
    text = figure.suptitle(
        f"Adversarial images: {readable(outcomes.title, outcomes.dataset)}, ε = {epsilon:g} ({norms})",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    keys = dict.fromkeys(one.surrogate for one in shown if one.surrogate not in (None, IMPORTED))
    surrogates = [outcomes.record(key) for key in keys if key is not None]
    made = "Crafted on " + "; or on ".join(f"{title_of(one)}, seed {one.seed}" for one in surrogates) + "."
    who = (
        "Under each: what the other models predict, by model card (×: how many of its seeds)."
        if listed
        else ("Under each: how many of the other models are still right, and what they predict most.")
    )
    caption(figure, [*([made] if surrogates else []), who, "Change: grey is none."])
    plain_text([text])
