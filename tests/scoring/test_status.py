"""How far a run is: what is done, in hand, failed and missing, also while another process works in it."""

import os
import signal
import subprocess
import sys
import time

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.at_work import at_work, telling
from robustbench_ekdaa.scoring.status import run_status
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import writing

from ..support.quick_models import write_card


class StopAt(Silent):
    """Stops the work, as Ctrl-C does, when a job of some name begins."""

    def __init__(self, start):
        self.start = start

    def task(self, label, total):
        if label.startswith(self.start):
            raise KeyboardInterrupt
        return super().task(label, total)


def told(run):
    status = run_status(run)
    states = {model.model: model.state for model in status.models}
    return states, {one.attack: (one.stored, one.cells) for one in status.attacks}


def test_what_a_stopped_sweep_asked_for_and_is_not_there_is_missing(tmp_path, workspace, spec):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path / "run", workspace=workspace, progress=StopAt("train quick_bp on digits, seed 1"))
    states, attacks = told(tmp_path / "run")
    assert states == {
        "quick_bp on digits, seed 0": "trained",
        "quick_ekdaa on digits, seed 0": "trained",
        "quick_bp on digits, seed 1": "missing",
        "quick_ekdaa on digits, seed 1": "missing",
    }
    assert attacks == {None: (2, 4), "fgsm": (0, 32), "bim": (0, 32), "noise": (4, 8)}
    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec, tmp_path / "run", workspace=workspace, progress=StopAt("bim on quick_bp seed 1"))
    assert told(tmp_path / "run")[1] == {None: (4, 4), "fgsm": (32, 32), "bim": (16, 32), "noise": (8, 8)}
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    states, attacks = told(tmp_path / "run")
    assert set(states.values()) == {"trained"}
    assert attacks == {None: (4, 4), "fgsm": (32, 32), "bim": (32, 32), "noise": (8, 8)}
    (tmp_path / "run" / "checkpoints").rename(tmp_path / "elsewhere")
    assert {model.cause for model in run_status(tmp_path / "run").missing} == {"its checkpoint is gone"}


def test_a_failed_model_is_told_with_its_cause_and_nothing_that_needs_it_is_missing(tmp_path, workspace, spec):
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    spec = spec.model_copy(update={"models": ("quick_bp", "wild"), "attacks": ("fgsm", "ens_fgsm"), "seeds": 1})
    run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    (failed,) = run_status(tmp_path / "run").failed
    assert failed.model == "wild on digits, seed 0"
    assert "diverged in epoch 1" in failed.cause
    assert told(tmp_path / "run")[1] == {None: (1, 1), "fgsm": (2, 2), "ens_fgsm": (0, 0)}
    write_card(tmp_path, "wild", "backprop", rate=0.02)  # another card of the same name takes its place
    run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    assert run_status(tmp_path / "run").failed == ()
    assert told(tmp_path / "run")[1] == {None: (2, 2), "fgsm": (8, 8), "ens_fgsm": (4, 4)}


WORK = """
import sys, time
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.at_work import telling
from robustbench_ekdaa.storing.store import writing
with writing(sys.argv[1]) as store, telling(__import__("pathlib").Path(sys.argv[1]), Silent(), "sweep x") as progress:
    progress.task("done", 1).advance()
    progress.task("train a", 10).advance(3, "loss 1")
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("clock", [0, -(10**9)], ids=["clock as it is", "clock set back"])
def test_a_command_at_work_is_told_with_what_it_has_in_hand_until_it_is_killed(tmp_path, clock):
    command = subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        command.stdout.readline()
        deadline = time.monotonic() + 20
        while not (found := at_work(tmp_path)).jobs and time.monotonic() < deadline:
            time.sleep(0.05)
        if clock:
            os.utime(tmp_path / ".lock", (1, 1))  # as files look whose time lies before or after today's
            os.utime(tmp_path / ".at_work.json", (2**33, 2**33))
            found = at_work(tmp_path)
        assert (found.process, found.command) == (command.pid, "sweep x")
        assert [job.model_dump() for job in found.jobs] == [
            {"label": "train a", "done": 3, "total": 10, "note": "loss 1"}
        ]
        assert rb.status(tmp_path).at_work == found
        command.send_signal(signal.SIGKILL)
        command.wait()
        assert (tmp_path / ".at_work.json").exists()
        assert at_work(tmp_path) is None
    finally:
        command.kill()
        command.communicate()


def test_what_is_at_work_is_told_without_a_file_and_a_damaged_one_is_no_error(tmp_path):
    assert at_work(tmp_path / "nowhere") is None
    with writing(tmp_path):
        for content in (None, b"", b"\xff{", b'{"jobs": 3}', b"[" * 100_000):
            if content is not None:
                (tmp_path / ".at_work.json").write_bytes(content)
            assert at_work(tmp_path).jobs == []
    assert at_work(tmp_path) is None
    with writing(tmp_path, patient=False):  # asking takes the folder from nobody
        pass


def test_a_file_that_cannot_be_written_disturbs_nothing(tmp_path):
    (tmp_path / ".at_work.json").mkdir()
    with writing(tmp_path), telling(tmp_path, Silent()) as progress:
        progress.task("x", 1)
        time.sleep(0.3)
        assert at_work(tmp_path).jobs == []


def test_a_run_without_results_has_no_status(tmp_path):
    with pytest.raises(UsageError, match="no results here"):
        run_status(tmp_path)
