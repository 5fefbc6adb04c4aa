"""What all figures share: one look per model card, plain text, sizes, and how they are saved."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from ..analysis.results import Results
from ..cards import split_name
from ..errors import UsageError, shown
from ..storing.outcomes import AttackRecord, Ensemble, ModelRecord, Outcomes
from .backend import import_matplotlib
from .fonts import plain_text, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours for all kinds of colour vision, darkened where they would vanish on white, and four more.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b", "#7b3294", "#8c510a", "#4d4d4d", "#c2185b")
DASHES = ("", (4, 1.5), (1, 1), (6, 1.5, 1, 1.5))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
# These are in nearly every report: their colours do not depend on what else is in it.
KEPT_COLOURS = {"backprop": "#0072b2", "ekdaa": "#d55e00", "frozen": "#7f7f7f"}
NORM_SIGNS = {"linf": "ℓ∞", "l2": "ℓ2", "l1": "ℓ1"}
FILLER = "\0"
GREY, FAINT = "#555555", "#d9d9d9"


@dataclass(frozen=True)
class Look:
    """How one model card is drawn, everywhere in a report."""

    label: str
    colour: str
    dashes: Any
    marker: str


def title_of(record: ModelRecord | Ensemble | AttackRecord) -> str:
    """Return what figures call a model, an ensemble or an attack."""
    return readable(record.title, record.name)


def looks(results: Results | Outcomes) -> dict[str, Look]:
    """Return the look of every model card by name, in the order of the sweeps."""
    several = results.outcomes if isinstance(results, Results) else [results]
    return card_looks(
        outcomes.models[key]
        for outcomes in several
        for key in dict.fromkeys((*outcomes.targets, *outcomes.surrogates, *outcomes.models))
    )


def card_looks(models: Iterable[ModelRecord]) -> dict[str, Look]:
    """Return the look of every model card by name, in the order of the models."""
    titles: dict[str, str] = {}
    for model in models:
        titles.setdefault(model.name, title_of(model).lstrip("_") or model.name)
    # Models that differ in their recipe or epoch alone have one colour, and dashes by these.
    names = {name: split_name(name) for name in titles}
    bases = dict.fromkeys(parts.card for parts in names.values())
    treatments = list(dict.fromkeys(parts[1:] for parts in names.values() if any(parts[1:])))
    kept = {colour for base, colour in KEPT_COLOURS.items() if base in bases}
    free = [colour for colour in COLOURS if colour not in kept]
    others = [base for base in bases if base not in KEPT_COLOURS]
    found = {}
    for place, (name, title) in enumerate(titles.items()):
        twin = sum(other == title for other in titles.values()) > 1
        base, treatment = names[name].card, names[name][1:]
        turn, colour = (0, KEPT_COLOURS[base]) if base in KEPT_COLOURS else divmod(others.index(base), len(free))
        turn += 1 + treatments.index(treatment) if any(treatment) else 0
        found[name] = Look(
            f"{title} ({name})" if twin else title,
            colour if isinstance(colour, str) else free[colour],
            DASHES[turn % len(DASHES)],
            MARKERS[place % len(MARKERS)],
        )
    return found


def one_dataset(results: Results | Outcomes, dataset: str | None) -> Outcomes:
    """Return the outcomes to draw; raises UsageError when it is not clear which data set's."""
    if isinstance(results, Outcomes):
        return results
    if not isinstance(results, Results):
        raise UsageError(f"a figure is drawn from a run's results, as open_results returns them (got {shown(results)})")
    if dataset is not None:
        return results.on(dataset)
    if len(results.outcomes) != 1:
        raise UsageError(f"a figure shows one data set: say which (dataset=...): {', '.join(results.datasets)}")
    return results.outcomes[0]


def shortened(label: str, width: int, lines: int = 2) -> str:
    """Break a label into lines of at most `width` characters; what does not fit ends in an ellipsis.

    A letter as wide as two, such as a Chinese one, counts as two.
    """
    if len(_spaced(label)) <= width:
        return label
    parts = wrapped(label, width) if lines > 1 else [label]
    if len(parts) > lines or len(_spaced(parts[-1])) > width:
        last = _spaced(parts[lines - 1])
        end = width - 1 - last.startswith(FILLER, width - 1)  # not in the middle of a wide letter
        parts = [*parts[: lines - 1], _narrow(last[:end]).rstrip() + "…"]
    return "\n".join(parts)


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` characters; see `shortened`."""
    return [_narrow(line) for line in textwrap.wrap(_spaced(text), width)]


def _spaced(text: str) -> str:
    """Return a text with a filler after every letter as wide as two, so that its length is its width."""
    return "".join(letter + FILLER * (east_asian_width(letter) in "WF") for letter in text)


def _narrow(text: str) -> str:
    return text.replace(FILLER, "")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that belongs to no global state."""
    import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def clean_axes(axes: Axes) -> None:
    """Remove what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=8, length=3)
    axes.grid(True, color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)


def caption(figure: Figure, sentences: Sequence[str]) -> None:
    """Say beneath a figure what it shows, so that it speaks for itself wherever it is put."""
    width = int(figure.get_figwidth() * 18)
    lines = wrapped(" ".join(sentences), width)
    plain_text([figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color=GREY)])


def save_figure(figure: Figure, stem: Path) -> None:
    """Write STEM.png (150 dpi) and STEM.pdf; the same figure gives the same bytes."""
    from matplotlib import rc_context

    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what was laid out once need not be for every file
    with rc_context({"pdf.fonttype": 42}):  # type 42 keeps the text of a PDF searchable
        figure.savefig(stem.with_name(stem.name + ".png"), dpi=150, metadata={"Software": None})
        unchanging = {"CreationDate": None, "Producer": None, "Creator": None}
        figure.savefig(stem.with_name(stem.name + ".pdf"), metadata=unchanging)
