"""Workplaces for trials, how many trials there are, and their figures at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import pytest

from .damage import kill_once_there_is
from .tool import How
from .workplace import SWEEP, Undisturbed, Workplace

# Processes of their own must find these modules by name.
ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture(scope="session", autouse=True)
def _server(_one_thread, tmp_path_factory):
    """Start the process that commands are forked from, with a clock that can be set back where that can be made."""
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    with pytest.MonkeyPatch.context() as patch:
        if shutil.which("gcc"):
            made = ["gcc", "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).with_name("clock.c"), "-ldl"]
            subprocess.run(made, check=True)
            patch.setenv("LD_PRELOAD", str(library))
        forkserver.ensure_running()
    return library


@pytest.fixture
def clock(_server):
    """Skip a trial where the clock cannot be set back for a process alone."""
    if not _server.exists():
        pytest.skip("there is no gcc here")
    shown = [sys.executable, "-c", "import time; print(time.time())"]
    environment = {**os.environ, "LD_PRELOAD": str(_server), "CLOCK": "0 1e9 0"}
    told = float(subprocess.run(shown, env=environment, capture_output=True, check=True).stdout)
    assert abs(time.time() - told - 1e9) < 60, "the clock is not set back"


@pytest.fixture
def base(tmp_path):
    """A folder for one trial; of hundreds of trials only those that failed leave theirs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def cards(tmp_path_factory):
    """A workplace with two model cards and nothing else."""
    place = Workplace(tmp_path_factory.mktemp("cards"))
    place.write_card("bp", "backprop")
    place.write_card("ek", "ekdaa")
    return place


@pytest.fixture(scope="session")
def undisturbed(cards, tmp_path_factory):
    """What `SWEEP` leaves when nothing disturbs it."""
    place = cards.copy_to(tmp_path_factory.mktemp("undisturbed"))
    place.fine(f"{SWEEP} run")
    return Undisturbed(place.run, place.rows())


@pytest.fixture(scope="session")
def killed(cards, tmp_path_factory):
    """A workplace with a run that was killed near its end, whose newest outcomes are in the store's log alone."""
    place = cards.copy_to(tmp_path_factory.mktemp("killed"))
    kill_once_there_is(place, place.start(f"{SWEEP} run"), "adversarial/noise-*.safetensors")
    assert (place.run / "results.sqlite-wal").stat().st_size
    return place


@pytest.fixture(scope="session")
def seconds(cards, tmp_path_factory):
    """How long an undisturbed sweep takes here, from the start of its process to its end."""
    place = cards.copy_to(tmp_path_factory.mktemp("timed"))
    running = place.start(f"{SWEEP} run", How(stopped=True))
    started = time.perf_counter()
    running.go_on()
    assert running.wait().code == 0
    return time.perf_counter() - started


@pytest.fixture
def nobodys():
    """A folder for one trial that any user can reach, as those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def note(request):
    """Note how a trial ended, in a few words, for the figures at the end."""
    return lambda how: request.node.user_properties.append(("ended", how))


def pytest_terminal_summary(terminalreporter):
    """Print, for every kind of trial, how many ended how."""
    figures: dict[str, Counter[str]] = {}
    for verdict in ("passed", "failed"):
        for report in terminalreporter.stats.get(verdict, ()):
            for name, how in report.user_properties if report.when == "call" else ():
                if name == "ended":
                    kind = report.nodeid.rpartition("/")[2].partition("[")[0]
                    figures.setdefault(kind, Counter())[how if verdict == "passed" else "FAILED"] += 1
    if figures:
        terminalreporter.section("trials")
    for kind, counts in figures.items():
        ends = ", ".join(f"{number} {how}" for how, number in counts.most_common())
        terminalreporter.write_line(f"{kind}: {sum(counts.values())}: {ends}")
