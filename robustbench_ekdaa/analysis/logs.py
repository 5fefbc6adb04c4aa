"""What trainings logged: a table of their epochs and a table of their layers' angles."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards import shown_path
from ..errors import UsageError
from ..learning.job import log_path

if TYPE_CHECKING:
    import pandas

FIGURES = ("update_angle", "feedback_angle", "update_norm_ratio", "feedback_norm_ratio")
LAYER_COLUMNS = ("epoch", "layer", *FIGURES)
EPOCH_COLUMNS = ("epoch", "loss", "accuracy", "learning_rate", "seconds")


@dataclass(frozen=True)
class Log:
    """What one training logged.

    Attributes:
        epochs: a row per epoch from 1 on: loss and accuracy (a share) are means over the epoch's training steps.
        layers: a row per epoch and layer, from the input to the readout; epoch 0 is before the first step, and is not
            in the logs of early releases. Angles are in degrees between a layer's update and its true gradient, and
            between its feedback and its weight; 0 is backprop's direction and 90 unrelated. Ratios are of l2 norms. NaN
            where they are not defined, such as for a layer that does not learn.
    """

    epochs: pandas.DataFrame
    layers: pandas.DataFrame


def read_log(run: Path, key: str, digest: str | None = None) -> Log:
    """Read one training's log.

    Args:
        run: the run folder.
        key: the model's key.
        digest: the log's digest, which the model's facts tell as "log_digest"; None if they do not.

    Raises:
        UsageError: for a log that is missing, damaged, or not of this training.

    """
    import pandas

    path = log_path(run, key)
    try:
        if path.exists() and not path.is_file():
            raise ValueError("a pipe, or a folder")
        content = path.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("not what was written")
        lines = [json.loads(line) for line in content.decode("utf-8").splitlines()]
        epochs = [[line[column] for column in EPOCH_COLUMNS] for line in lines if line["epoch"] > 0]
        layers = [_layer(line["epoch"], name, figures) for line in lines for name, figures in line["layers"].items()]
        return Log(
            pandas.DataFrame(epochs, columns=list(EPOCH_COLUMNS)).astype({"epoch": int, "loss": float}),
            pandas.DataFrame(layers, columns=list(LAYER_COLUMNS)).astype(
                {"epoch": int, **dict.fromkeys(FIGURES, float)}
            ),
        )
    except OSError as error:
        raise UsageError(f"{shown_path(path)}: cannot be read ({error.strerror})") from None
    except Exception:  # a damaged file can be wrong in any way
        raise UsageError(f"{shown_path(path)}: is damaged") from None


def _layer(epoch: int, name: str, figures: dict[str, Any]) -> list[Any]:
    return [epoch, name, *(figures[figure] for figure in FIGURES)]
