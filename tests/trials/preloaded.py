"""Imports all that a command may need, so that a process forked from this one answers at once."""

import encodings.utf_8_sig  # noqa: F401 (a user without rights may not be able to read the standard library)
import importlib
import pkgutil

import pytest  # noqa: F401 (a forked process looks at the test run's main module)
import sklearn.datasets  # noqa: F401
import torch

import robustbench_ekdaa

torch.set_num_threads(1)  # a fork of a process that has used several can hang
torch.optim.SGD([torch.zeros(1)], lr=1.0)  # imports much more when it is first made
for module in pkgutil.walk_packages(robustbench_ekdaa.__path__, "robustbench_ekdaa."):
    if not module.name.startswith("robustbench_ekdaa.template.") and not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
