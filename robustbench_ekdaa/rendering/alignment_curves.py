"""How near a rule's updates are to backprop's, layer by layer, against the epoch: one figure per model card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..analysis.trainings import Trainings
from ..errors import UsageError, unknown_name
from ..learning.training import PROBE_IMAGES
from ..names import as_spelled
from .fonts import plain_text, readable
from .labels import LABEL_GAP, label_line, place_labels
from .style import GREY, Look, caption, clean_axes, new_figure, shortened, title_of
from .training_curves import axis_height, epoch_axis, line_with_band, on_one_dataset, plain_log_scale, seeds_sentence

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel(NamedTuple):
    """One figure of merit: its column in the log, its title, and the value that a thin line marks, with its name."""

    column: str
    title: str
    mark: float
    meaning: str

    @property
    def is_angle(self) -> bool:
        """Whether it is an angle in degrees; else a ratio."""
        return self.column.endswith("angle")


PANELS = (
    Panel("update_angle", "Angle of update to true gradient (degrees)", 90, "unrelated"),
    Panel("feedback_angle", "Angle of feedback to weight (degrees)", 90, "unrelated"),
    Panel("update_norm_ratio", "Norm of update / norm of true gradient", 1, "equal"),
    Panel("feedback_norm_ratio", "Norm of feedback / norm of weight", 1, "equal"),
)


def plot_alignment(trainings: Trainings | Path | str, model: str, *, dataset: str | None = None) -> Figure:
    """Draw one model card's angles and ratios of norms, layer by layer, against the epoch.

    The update is compared with the true gradient of the loss, and the feedback, where the rule has any in the weight's
    shape, with the weight. Lines are layers: means over training seeds, with bands from the lowest to the highest seed.

    Args:
        trainings: a run folder, or what `analysis.trainings.read_trainings` read from one.
        model: the model card's name.
        dataset: which data set, when there are several.

    Raises:
        UsageError: when there is nothing to draw.
    """
    chosen, dataset = on_one_dataset(trainings, dataset)
    model = as_spelled("model", model, {record.name for record in chosen.models.values()})
    records = [record for record in chosen.models.values() if record.name == model]
    if not records:
        raise unknown_name("model of this run", model, {record.name for record in chosen.models.values()})
    frame = chosen.layers[chosen.layers["model"] == model]
    panels = [panel for panel in PANELS if _drawable(frame, panel).any()]
    if not panels:
        raise UsageError(f"{model} on {dataset}: no angle was logged in its training")
    styles = layer_styles(list(dict.fromkeys(frame["layer"])))
    columns = 2 if len(panels) > 1 else 1
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(4.6 * max(columns, 1.4), 2.75 * rows + 0.95)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, frame, panel, styles)
    for axes in grid[len(panels) :]:
        axes.remove()
    title = shortened(title_of(records[-1]), 60, lines=1)
    where = readable(chosen.title(dataset), dataset)
    heading = f"{title}: its updates against backprop's, {where}\nrule {records[-1].rule}, card {model}"
    plain_text([figure.suptitle(heading, fontsize=10.5, x=0.01, ha="left", linespacing=1.3)])
    caption(figure, _sentences(frame, panels, styles))
    return figure


def layer_styles(names: list[str]) -> dict[str, Look]:
    """Return each layer's look: one scale of colours from the input to the readout."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = [0.8 * place / max(len(names) - 1, 1) for place in range(len(names))]
    return {
        name: Look(name, to_hex(colormaps["plasma"](shade)), "", "o") for name, shade in zip(names, shades, strict=True)
    }


def _drawable(frame: pd.DataFrame, panel: Panel) -> pd.Series[bool]:
    """Tell the rows that have a place on the panel's axis: zero has none on a logarithmic one."""
    return frame[panel.column].notna() & (panel.is_angle | (frame[panel.column] > 0))


def _draw_panel(axes: Axes, frame: pd.DataFrame, panel: Panel, styles: dict[str, Look]) -> None:
    part = frame[_drawable(frame, panel)]
    present = {name: look for name, look in styles.items() if name in set(part["layer"])}
    for name, look in present.items():
        line_with_band(axes, part[part["layer"] == name], panel.column, look)
    clean_axes(axes)
    axes.set_title(panel.title, fontsize=9.5, loc="left")
    epoch_axis(axes, frame["epoch"])
    if panel.is_angle:
        top = next(top for top in (105, 120, 180) if part[panel.column].max() <= top)
        axes.set_ylim(0, top)
        axes.set_yticks(range(0, top + 1, 30))
    else:
        plain_log_scale(axes, part[panel.column])
    axes.axhline(panel.mark, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=1)
    # Named at its tick, where no line of data can run through the word.
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{panel.meaning}  {value:g}" if math.isclose(value, panel.mark) else f"{value:g}"
    )
    ends = {name: part[part["layer"] == name].groupby("epoch")[panel.column].mean() for name in present}
    named = _labelled(list(ends))
    # Rounded, so that lines that end together are labelled in the order of the layers.
    heights = [round(axis_height(axes, float(ends[name].iloc[-1])), 1) for name in named]
    for name, height in zip(named, place_labels(heights, LABEL_GAP, math.inf) or (), strict=True):
        label_line(axes, name, styles[name].colour, (float(ends[name].index[-1]), float(ends[name].iloc[-1])), height)


def _labelled(names: list[str]) -> list[str]:
    """Return the layers whose labels fit beside a panel: all, or every second, third, ... and the last."""
    step = math.ceil(len(names) * LABEL_GAP / 100) or 1
    return [name for place, name in enumerate(names) if (len(names) - 1 - place) % step == 0]


def _sentences(frame: pd.DataFrame, panels: list[Panel], styles: dict[str, Look]) -> list[str]:
    sentences = [
        seeds_sentence(frame),
        f"Measured on the same {PROBE_IMAGES} training images (at most) after each epoch",
    ]
    sentences[-1] += "; epoch 0: before training." if (frame["epoch"] == 0).any() else "."
    if any(panel.is_angle for panel in panels):
        sentences.append("0 degrees: backprop's own direction.")
    still = [name for name in styles if not _drawable(frame[frame["layer"] == name], PANELS[0]).any()]
    if still:
        sentences.append(f"No angle of the update of {', '.join(still)}: it or the true gradient is zero.")
    return sentences
