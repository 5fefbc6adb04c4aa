"""Executors: the same results from any number of workers, and a worker's death in plain words."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.executor import PartlyDone, executor
from robustbench_ekdaa.scoring.sweep import choose_device, choose_workers

from .conftest import wait_until_all_are_gone

ROOT = Path(__file__).parent.parent.parent


def square(number, progress):
    bar = progress.task(f"square {number}", 1)
    bar.advance(1, "done")
    return number**2, os.getpid(), torch.get_num_threads()


def doze(progress):
    time.sleep(60)


def die(progress):
    os.kill(os.getpid(), signal.SIGKILL)


def complain(progress):
    raise UsageError("one line")


def leave(path, progress):
    path.touch()


def stop_half_way(progress):
    raise PartlyDone("the disk is full", "half")


class Watcher(Silent):
    def __init__(self):
        self.seen = []

    def task(self, label, total):
        self.seen.append((label, total))
        return self

    def advance(self, amount=1, note=None):
        self.seen.append((amount, note))


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_run_on_one_thread_each_and_report_progress(workers):
    threads, watcher = torch.get_num_threads(), Watcher()
    with executor(workers, watcher) as runner:
        results = dict(runner.run([partial(square, number) for number in range(4)]))
        deadline = time.perf_counter() + 10
        while len(watcher.seen) < 8 and time.perf_counter() < deadline:
            time.sleep(0.01)
    assert {position: result[0] for position, result in results.items()} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert {result[2] for result in results.values()} == {1}
    assert ({result[1] for result in results.values()} == {os.getpid()}) == (workers == 1)
    assert sorted(label for label, _ in watcher.seen if label != 1) == [f"square {number}" for number in range(4)]
    assert watcher.seen.count((1, "done")) == 4
    assert torch.get_num_threads() == threads


def test_a_workers_death_is_one_clear_line_and_its_errors_are_its_own():
    with pytest.raises(WorkFailed, match=r"a worker process died.*fewer --workers"), executor(2, Silent()) as runner:
        list(runner.run([die]))
    with pytest.raises(UsageError, match="one line"), executor(2, Silent()) as runner:
        list(runner.run([complain]))


def test_what_was_finished_when_a_job_failed_is_handed_over_before_its_error(tmp_path):
    jobs = [partial(leave, tmp_path / str(number)) for number in range(5)]
    jobs[2:2] = [complain]
    jobs.append(doze)
    with executor(2, Silent()) as runner:
        results = runner.run(jobs)
        handed_over = [next(results)[0]]
        deadline = time.perf_counter() + 30
        while len(list(tmp_path.iterdir())) < 5 and time.perf_counter() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # from a job's last act to its result here
        with pytest.raises(UsageError, match="one line"):
            handed_over.extend(position for position, _ in results)
    assert sorted(handed_over) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_failed_job_had_done_is_handed_over_before_its_error(workers):
    handed_over = []
    with pytest.raises(WorkFailed, match=r"^the disk is full$"), executor(workers, Silent()) as runner:
        handed_over.extend(runner.run([stop_half_way]))
    assert handed_over == [(0, "half")]


def test_stopping_the_workers_leaves_the_callers_other_processes_alone():
    mine = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    mine.start()
    try:
        with executor(2, Silent()) as runner:
            (result,) = runner.run([partial(square, 3)])
        assert result[1][0] == 9
        deadline = time.perf_counter() + 10
        while len(multiprocessing.active_children()) > 1 and time.perf_counter() < deadline:
            time.sleep(0.05)  # a signal takes a moment
        assert multiprocessing.active_children() == [mine]
    finally:
        mine.kill()
        mine.join()


def test_workers_in_the_middle_of_a_long_job_do_not_outlive_a_killed_driver():
    script = (
        "from robustbench_ekdaa.progress import Silent; from robustbench_ekdaa.scoring.executor import executor\n"
        "from tests.scoring.test_executor import doze, square\nfrom functools import partial\n"
        "with executor(2, Silent()) as runner:\n"
        "    for _ in runner.run([partial(square, 1), doze, doze]): print('ready', flush=True)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert driver.stdout.readline() == "ready\n"
    driver.kill()
    driver.wait()
    wait_until_all_are_gone(driver.pid)


def test_devices_and_workers_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="device 'cuda:99' cannot be used here"):
        choose_device("cuda:99")
    with pytest.raises(UsageError, match="device 'gpu' cannot be used here"):
        choose_device("gpu")
    with pytest.raises(UsageError, match="--workers: must be at least 1"):
        choose_workers(0, "cpu")
    assert choose_workers(None, "cuda") == 1
    assert choose_workers(None, "cpu") >= 1
