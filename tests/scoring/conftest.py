"""A workspace whose models train in a second, so that whole sweeps can be run in tests."""

import shutil

import pytest

from robustbench_ekdaa.cards import SweepSpec, Workspace

from ..support.first_release import RELEASED
from ..support.quick_models import write_card


@pytest.fixture
def workspace(tmp_path):
    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(tmp_path, name, rule)
    return Workspace(tmp_path)


@pytest.fixture
def spec():
    return SweepSpec(
        datasets=("digits",),
        models=("quick_bp", "quick_ekdaa"),
        attacks=("fgsm", "bim", "noise"),
        epsilons=(0, 0.1, 0.2),
        images=60,
        seeds=2,
        batch_size=32,
    )


@pytest.fixture
def released(tmp_path):
    """A run folder of the first release: a sweep with ensembles, and an import."""
    shutil.copytree(RELEASED / "run", tmp_path / "released")
    return tmp_path / "released"
