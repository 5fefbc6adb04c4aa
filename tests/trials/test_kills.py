"""A sweep killed at a random moment: the same command finishes it with the rows of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

from .rounds import trials
from .tool import How
from .workplace import SWEEP

KILLS, STOPS = 60, 50


@trials(KILLS, samples=5)
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


def stopped(place, seconds, trial, presses, number, note):
    """Stop a sweep at a random moment by a signal, sent so many times, and hold it to what it promises."""
    draw = random.Random(trial)
    running = place.start(f"{SWEEP} run", How(stopped=True))
    running.go_on()
    time.sleep(seconds * (trial + draw.random()) / STOPS)
    for _ in range(presses):
        running.send(number)
        time.sleep(draw.choice([0, 0.002, 0.02]))
    ended = running.wait()
    assert "Traceback" not in ended.err
    if ended.code != 0:
        told = ended.complaint.count("stopped; everything finished before is kept")
        assert (ended.code, told) == (128 + number, 1), ended.err
    note("stopped" if ended.code else "was finished before")


@trials(STOPS, samples=5)
def test_a_sweep_stopped_by_ctrl_c_says_so_and_is_finished_by_the_same_command(
    cards, undisturbed, seconds, base, note, trial
):
    place = cards.copy_to(base / "place")
    stopped(place, seconds, trial, 1, signal.SIGINT, note)
    undisturbed.reached_by(place, f"{SWEEP} run")


@trials(STOPS, samples=5)
def test_a_sweep_ended_by_ctrl_c_pressed_twice_or_more_says_so_and_is_finished_by_the_same_command(
    cards, undisturbed, seconds, base, note, trial
):
    place = cards.copy_to(base / "place")
    stopped(place, seconds, trial, 2 + trial % 2, signal.SIGINT, note)
    undisturbed.reached_by(place, f"{SWEEP} run")


@trials(STOPS, samples=5)
def test_a_sweep_stopped_by_sigterm_says_so_and_is_finished_by_the_same_command(
    cards, undisturbed, seconds, base, note, trial
):
    place = cards.copy_to(base / "place")
    stopped(place, seconds, trial, 1 + trial % 2, signal.SIGTERM, note)
    undisturbed.reached_by(place, f"{SWEEP} run")


@trials(STOPS, samples=0)
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
        time.sleep(6 * (trial + draw.random()) / STOPS)
        killed = draw.choice(["driver", "driver and workers"])
        os.kill(process.pid, signal.SIGKILL) if killed == "driver" else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    undisturbed.reached_by(place, f"{SWEEP} run")
    note(f"{killed} killed")
