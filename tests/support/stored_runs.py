"""What a run folder holds, also while another process writes it."""

import json
import sqlite3
import time
from contextlib import closing

from robustbench_ekdaa.storing.store import open_run


def facts(run):
    """All outcomes of a run as comparable data."""
    (outcomes,) = open_run(run)
    cells = {
        (cell.surrogate, cell.target, cell.attack, cell.epsilon): cell.predictions.tolist() for cell in outcomes.cells
    }
    return cells, {key: predictions.tolist() for key, predictions in outcomes.clean.items()}


def stored(run):
    """What a run holds, also while another process writes it: its models, and the places of its outcomes."""
    try:
        with closing(sqlite3.connect(f"{(run / 'results.sqlite').as_uri()}?mode=ro", uri=True)) as store:
            models = store.execute("SELECT key, metrics FROM models").fetchall()
            rows = store.execute(
                "SELECT image_set, surrogate, attack, epsilon, targets "
                "FROM outcomes JOIN target_sets ON key = target_set"
            ).fetchall()
    except sqlite3.OperationalError:  # it is not there yet
        return set(), set()
    return set(models), {(*place, target) for *place, targets in rows for target in json.loads(targets)}


def wait_until_stored(run, models, outcomes, process):
    """Wait until a process has stored so many models and outcomes."""
    for _ in range(30_000):
        there = stored(run)
        if len(there[0]) >= models and len(there[1]) >= outcomes:
            return
        assert process.poll() is None, "it ended before it had stored as much"
        time.sleep(0.002)
    raise AssertionError(f"it stored no more than {[len(some) for some in there]} models and outcomes in a minute")
