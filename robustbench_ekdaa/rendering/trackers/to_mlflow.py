"""MLflow: a run per model; ``mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db`` shows them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ...files import clear_errors, whole_folder
from .tracked import Tracked

EXPERIMENT = "robustbench-ekdaa"
# What MLflow reads when it is imported: it reports nothing to its makers, and prints no messages of its own.
QUIET_MLFLOW = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}
MOST_AT_ONCE = 1_000  # metrics that MLflow takes in one call


def write_mlflow(folder: Path, sheets: Sequence[Tracked]) -> Path:
    """Write all sheets to a folder, which is replaced as a whole, so that no point is there twice."""
    os.environ.update(QUIET_MLFLOW)
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    when = int(time.time() * 1000)
    with clear_errors(folder), whole_folder(folder) as draft:
        client = MlflowClient(tracking_uri=f"sqlite:///{draft.absolute() / 'mlflow.db'}")
        experiment = client.create_experiment(EXPERIMENT, artifact_location=(folder.absolute() / "artifacts").as_uri())
        for sheet in sheets:
            made = client.create_run(experiment, run_name=sheet.name).info.run_id
            client.log_batch(made, params=[Param(name, value) for name, value in sheet.facts.items()])
            metrics = [Metric(name, value, when, step) for name, step, value in sheet.points]
            for start in range(0, len(metrics), MOST_AT_ONCE):
                client.log_batch(made, metrics=metrics[start : start + MOST_AT_ONCE])
            client.set_terminated(made)
    return folder
