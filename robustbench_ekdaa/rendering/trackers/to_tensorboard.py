"""TensorBoard: an event file per model; ``tensorboard --logdir RUN/tensorboard`` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...files import clear_errors, whole_folder
from .tracked import Tracked


def write_tensorboard(folder: Path, sheets: Sequence[Tracked]) -> Path:
    """Write all sheets to a folder, which is replaced as a whole, so that no point is there twice."""
    from torch.utils.tensorboard import SummaryWriter

    with clear_errors(folder), whole_folder(folder) as draft:
        for sheet in sheets:
            place: Any = SummaryWriter(str(draft / _place(sheet)))
            with place as writer:
                facts = "\n".join(f"- {name}: {value}" for name, value in sheet.facts.items())
                writer.add_text("facts", facts)
                for curve, step, value in sheet.points:
                    writer.add_scalar(curve, value, step)
    return folder


def _place(sheet: Tracked) -> str:
    """Return a folder's name; models of one name differ in their keys."""
    return sheet.name if sheet.key == sheet.name else f"{sheet.name} {sheet.key[:8]}"
