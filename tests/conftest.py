"""Real data for all tests: the digits always, the others where they are, else skipped with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from robustbench_ekdaa.data import Dataset, dataset_status, load_dataset
from robustbench_ekdaa.storing.outcomes import Outcomes

from .support.made_outcomes import digits_outcomes
from .support.trained_run import train, write_cards

# With pytest -n every core has a process of tests already, and their children inherit this.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# Times tell nothing on a shared machine.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def _where_it_is(name: str, limit: int) -> Dataset:
    status = dataset_status(name)
    if not status.here:
        pytest.skip(f"{name} is {status.where}")
    return load_dataset(name, limit=limit)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def fashion_mnist() -> Dataset:
    """2,000 images of each split."""
    return _where_it_is("fashion_mnist", 2000)


@pytest.fixture(scope="session")
def cifar10() -> Dataset:
    """1,000 images of each split."""
    return _where_it_is("cifar10", 1000)


@pytest.fixture(scope="session")
def svhn() -> Dataset:
    """At most 1,000 images of each split."""
    return _where_it_is("svhn", 1000)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A folder with cards and, in ``run``, two epochs of four rules, one of them with two seeds, and a failure."""
    folder = tmp_path_factory.mktemp("trained")
    workspace = write_cards(folder)
    train(workspace, folder / "run", ["quick_fa"], seeds=2)
    train(workspace, folder / "run", ["quick_bp", "quick_frozen", "quick_mine", "wild"])
    return folder


@pytest.fixture(scope="session")
def real() -> Outcomes:
    """Real outcomes: FGSM, five steps of it, and noise, on and against three networks trained on the digits."""
    return digits_outcomes()
