"""The store: what is damaged is one clear line, and runs of the first release stay readable."""

import io
import json
import sqlite3
from contextlib import closing, nullcontext

import numpy as np
import pandas as pd
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.outcomes import ImageRecord
from robustbench_ekdaa.storing.sealed import Damaged
from robustbench_ekdaa.storing.selection import _check_images
from robustbench_ekdaa.storing.store import open_run

from ..support.first_release import RELEASED, RELEASED_SPEC
from ..support.forward_passes import CountCalls


def images(indices, labels):
    count = len(indices)
    first = np.zeros((min(count, 2), 1, 8, 8), np.float32)
    return ImageRecord("key", "data", np.array(indices, np.int64), np.array(labels, np.int64), first)


@pytest.mark.parametrize(
    ("indices", "labels", "message"),
    [
        ([0, 1], [0, 2], None),
        ([7, 0], [2, 0], None),
        ([0, 1], [0, 3], "labels are not below 3"),
        ([0, 1], [-1, 0], "labels are not below 3"),
        ([-1, 1], [0, 0], "images are not told apart"),
        ([1, 1], [0, 0], "images are not told apart"),
        ([0, 1], [0], "images and labels do not belong together"),
    ],
)
def test_images_have_places_of_their_own_and_classes_that_there_are(indices, labels, message):
    with nullcontext() if message is None else pytest.raises(Damaged, match=message):
        _check_images(images(indices, labels), classes=3)


def test_a_run_of_the_first_release_has_the_numbers_that_it_had_there(released):
    rows = pd.read_csv(io.StringIO(Results(open_run(released)).frame().to_csv(index=False)))
    told = [*rows.columns[: list(rows.columns).index("accuracy") + 1], "relation"]  # the rest is how we look at it
    pd.testing.assert_frame_equal(rows[told], pd.read_csv(RELEASED / "rows.csv")[told], check_exact=True)
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
