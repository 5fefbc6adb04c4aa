"""A sweep killed at a random moment: the same command finishes it with the rows of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from .rounds import trials
from .tool import How
from .workplace import SWEEP

KILLS = 60


@pytest.fixture(scope="session")
def seconds(cards, tmp_path_factory):
    """How long an undisturbed sweep takes here, from the start of its process to its end."""
    place = cards.copy_to(tmp_path_factory.mktemp("timed"))
    running = place.start(f"{SWEEP} run", How(stopped=True))
    started = time.perf_counter()
    running.go_on()
    assert running.wait().code == 0
    return time.perf_counter() - started


@trials(KILLS)
def test_a_sweep_killed_at_a_random_moment_is_finished_by_the_same_command(
    cards, undisturbed, seconds, base, note, trial
):
    place, draw = cards.copy_to(base / "place"), random.Random(trial)
    kills = draw.choice([1, 1, 1, 2, 3])
    for _ in range(kills):
        running = place.start(f"{SWEEP} run", How(stopped=True))
        running.go_on()
        time.sleep(seconds * (trial + draw.random()) / KILLS)
        running.kill()
        running.wait()
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"killed {'once' if kills == 1 else 'repeatedly'}")


@trials(20)
def test_a_sweep_stopped_by_ctrl_c_says_so_and_is_finished_by_the_same_command(
    cards, undisturbed, seconds, base, note, trial
):
    place, draw = cards.copy_to(base / "place"), random.Random(trial)
    running = place.start(f"{SWEEP} run", How(stopped=True))
    running.go_on()
    time.sleep(seconds * (trial + draw.random()) / 20)
    presses = draw.choice([1, 3])
    for _ in range(presses):
        running.interrupt()
        time.sleep(draw.choice([0, 0.002, 0.02]))
    ended = running.wait()
    assert "Traceback" not in ended.err
    if ended.code != 0:
        assert (ended.code, ended.complaint.count("stopped; everything finished before is kept")) == (130, 1), ended.err
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"pressed {presses}x")


@trials(6, samples=0)
def test_a_sweep_with_workers_killed_at_a_random_moment_is_finished_by_the_same_command(
    cards, undisturbed, base, note, trial
):
    place, draw = cards.copy_to(base / "place"), random.Random(trial)
    arguments = f"{SWEEP} run".replace("--workers 1", "--workers 2").split()
    script = [sys.executable, "-c", "from robustbench_ekdaa.cli import main; main()", *arguments]
    with (base / "output").open("w") as output:
        process = subprocess.Popen(script, cwd=place.folder, stdout=output, stderr=output, start_new_session=True)
        while not (place.run / "results.sqlite").exists():
            time.sleep(0.01)
        time.sleep(12 * (trial + draw.random()) / 6)
        killed = draw.choice(["driver", "driver and workers"])
        os.kill(process.pid, signal.SIGKILL) if killed == "driver" else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"{killed} killed")
