"""Are networks trained without backprop harder to fool? A benchmark of adversarial robustness across learning rules.

import robustbench_ekdaa as rb

results = rb.sweep(rb.SweepSpec(datasets=["digits"], models=["backprop", "ekdaa"], attacks=["fgsm"],
                                epsilons=[0, 0.1, 0.2]), run="runs/first")
results.summary()
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .registry import DATASETS, NETWORKS, RULES, register_component

if TYPE_CHECKING:
    from .analysis.results import Results
    from .api import craft, load_adversarial, load_dataset, load_model, open_results, score, sweep, train
    from .cards import SweepSpec, Workspace
    from .learning import LearningRule, Step
    from .rendering import plot_alignment, plot_curves, plot_training, plot_transfer_matrix

try:
    __version__ = version("robustbench-ekdaa")
except PackageNotFoundError:
    __version__ = "0+unknown"

register_rule = RULES.register
register_network = NETWORKS.register
register_dataset = DATASETS.register

# Imported on first use: torch, pandas and matplotlib take seconds, and `--help` needs none of them.
_HOMES = {
    "LearningRule": "learning",
    "Results": "analysis.results",
    "Step": "learning",
    "SweepSpec": "cards",
    "Workspace": "cards",
    "craft": "api",
    "load_adversarial": "api",
    "load_dataset": "api",
    "load_model": "api",
    "open_results": "api",
    "plot_alignment": "rendering",
    "plot_curves": "rendering",
    "plot_training": "rendering",
    "plot_transfer_matrix": "rendering",
    "score": "api",
    "sweep": "api",
    "train": "api",
}

__all__ = [
    "LearningRule",
    "Results",
    "Step",
    "SweepSpec",
    "Workspace",
    "__version__",
    "craft",
    "load_adversarial",
    "load_dataset",
    "load_model",
    "open_results",
    "plot_alignment",
    "plot_curves",
    "plot_training",
    "plot_transfer_matrix",
    "register_component",
    "register_dataset",
    "register_network",
    "register_rule",
    "score",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
