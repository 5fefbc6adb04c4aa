"""What a run's trainings logged, as one tidy table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import load_tensors

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "model",
    "rule",
    "dataset",
    "seed",
    "epoch",
    "layer",
    "update_angle",
    "feedback_angle",
    "update_norm_ratio",
    "feedback_norm_ratio",
)


def read_logs(run: Path) -> pandas.DataFrame:
    """Return a row per finished model, epoch and layer, in that order; layers from the input to the readout.

    Angles are in degrees between a layer's update and its true gradient, and between its feedback and its weight; 0 is
    backprop's direction and 90 unrelated. Ratios are of l2 norms. NaN where they are not defined, such as for a layer
    that does not learn. `epoch` counts from 1.

    Raises:
        UsageError: when a checkpoint of the run is damaged.

    """
    import pandas

    rows: list[dict[str, Any]] = []
    for log in sorted((run / "logs").glob("*.jsonl")):
        checkpoint = run / "checkpoints" / f"{log.stem}.safetensors"
        if not checkpoint.exists():
            continue
        _, facts = load_tensors(checkpoint)
        model = {column: facts[column] for column in COLUMNS[:4]}
        for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
            rows.extend(
                {**model, "epoch": line["epoch"], "layer": layer, **figures}
                for layer, figures in line["layers"].items()
            )
    frame = pandas.DataFrame(rows, columns=list(COLUMNS))
    figures = list(COLUMNS[6:])
    frame[figures] = frame[figures].astype(float)
    return frame.sort_values(["dataset", "model", "seed", "epoch"], kind="stable", ignore_index=True)
