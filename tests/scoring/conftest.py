"""A workspace whose models train in a second, so that whole sweeps can be run in tests."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from robustbench_ekdaa.cards import SweepSpec, Workspace

CARD = """
kind = "model"
name = "{name}"
rule = "{rule}"
{top}
[network]
blocks = [{{ layer = "conv", width = 4, pool = "max" }}]
[training.default]
epochs = 2
batch_size = 64
learning_rate = {rate}
{more}
"""


def write_card(folder, name, rule, rate=0.05, more="", top=""):
    (folder / "models").mkdir(exist_ok=True)
    card = CARD.format(name=name, rule=rule, rate=rate, more=more, top=top)
    (folder / "models" / f"{name}.toml").write_text(card, encoding="utf-8")


def stored(run):
    """What a run holds, also while another process writes it: its models, and the places of its outcomes."""
    try:
        with closing(sqlite3.connect(f"{(run / 'results.sqlite').as_uri()}?mode=ro", uri=True)) as store:
            models = store.execute("SELECT key, metrics FROM models").fetchall()
            outcomes = store.execute("SELECT image_set, surrogate, attack, epsilon, target FROM outcomes").fetchall()
    except sqlite3.OperationalError:  # it is not there yet
        return set(), set()
    return set(models), set(outcomes)


def wait_until_stored(run, models, outcomes, process):
    """Wait until a process has stored so many models and outcomes."""
    for _ in range(30_000):
        there = stored(run)
        if len(there[0]) >= models and len(there[1]) >= outcomes:
            return
        assert process.poll() is None, "it ended before it had stored as much"
        time.sleep(0.002)
    raise AssertionError(f"it stored no more than {[len(some) for some in there]} models and outcomes in a minute")


def wait_until_all_are_gone(group):
    """Wait until no process of a group is left: workers must not outlive their driver."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("worker processes outlived their driver by ten seconds")


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


RELEASED = Path(__file__).parent / "first_release"  # cards, a run that the first release wrote, and what it exported
RELEASED_SPEC = SweepSpec(
    datasets=("digits",),
    models=("quick_bp", "quick_ekdaa"),
    attacks=("fgsm", "ens_fgsm", "noise"),
    epsilons=(0, 0.1, 0.2),
    images=20,
    seeds=2,
    batch_size=32,
)


@pytest.fixture
def released(tmp_path):
    """A run folder of the first release: a sweep with ensembles, and an import."""
    shutil.copytree(RELEASED / "run", tmp_path / "released")
    return tmp_path / "released"
