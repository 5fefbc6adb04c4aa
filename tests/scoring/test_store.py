"""The store: what is damaged is one clear line, and runs of the first release stay readable."""

import io
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.cards import SweepSpec, Workspace
from robustbench_ekdaa.scoring.store import open_run
from robustbench_ekdaa.scoring.sweep import run_sweep

from .test_sweep import CountCalls

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
    """A run folder of the first release: a sweep with ensembles and an import."""
    shutil.copytree(RELEASED / "run", tmp_path / "released")
    return tmp_path / "released"


def same_numbers(frame, file):
    written = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    pd.testing.assert_frame_equal(written, pd.read_csv(file), rtol=1e-12)


def test_a_run_of_the_first_release_has_the_numbers_that_it_had_there(released):
    results = Results(open_run(released))
    same_numbers(results.frame(), RELEASED / "rows.csv")
    same_numbers(results.summary(), RELEASED / "summary.csv")
    assert (released / "results.sqlite").read_bytes() == (RELEASED / "run" / "results.sqlite").read_bytes()


def test_a_run_of_the_first_release_goes_on_and_nothing_in_it_is_done_again(released):
    before = Results(open_run(released)).frame()
    with CountCalls() as count:
        run_sweep(RELEASED_SPEC, released, workspace=Workspace(RELEASED))
    assert count.calls == 0
    pd.testing.assert_frame_equal(Results(open_run(released)).frame(), before)
    wider = RELEASED_SPEC.model_copy(update={"epsilons": (0.0, 0.1, 0.2, 0.3)})
    run_sweep(wider, released, workspace=Workspace(RELEASED))
    after = Results(open_run(released)).frame()
    common = before.columns.difference(["n_common"])
    kept = after[after["epsilon"] < 0.3].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[common], before[common])


def test_a_run_of_before_ensembles_is_read_and_nothing_in_it_is_done_again(released):
    spec = RELEASED_SPEC.model_copy(update={"attacks": ("fgsm", "noise")})
    with closing(sqlite3.connect(released / "results.sqlite")) as store, store:
        ((roles, told),) = store.execute("SELECT roles, spec FROM sweeps WHERE number = 1").fetchall()
        roles, told = json.loads(roles), json.loads(told)
        del roles["ensembles"], told["precision"], told["save_images"]
        roles["attacks"] = [key for key in roles["attacks"] if key in fgsm_and_noise(store)]
        store.execute("DELETE FROM sweeps WHERE number > 1")
        store.execute("UPDATE sweeps SET roles = ?, spec = ?", (json.dumps(roles), json.dumps(told)))
    before = Results(open_run(released)).frame()
    assert len(before) == 4 * 4 * 2 + 4 * 2 + 20
    with CountCalls() as count:
        run_sweep(spec, released, workspace=Workspace(RELEASED))
    assert count.calls == 0
    pd.testing.assert_frame_equal(Results(open_run(released)).frame(), before)


def fgsm_and_noise(store):
    return {key for key, name in store.execute("SELECT key, name FROM attacks") if name in ("fgsm", "noise")}
