"""Are networks trained without backprop harder to fool? A benchmark of adversarial robustness across learning rules.

import robustbench_ekdaa as rb

results = rb.sweep(rb.SweepSpec(datasets=["digits"], models=["backprop", "ekdaa"], attacks=["fgsm"],
                                epsilons=[0, 0.1, 0.2]), run="runs/first")
results.summary()
"""

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version("robustbench-ekdaa")
except PackageNotFoundError:
    __version__ = "0+unknown"

# The names are written in `__init__.pyi` and imported on first use: torch, pandas and matplotlib take seconds, and
# `--help` needs none of them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
