"""Executors: the same results from any number of workers, and a worker's death in plain words."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.executing import workers as worker_processes
from robustbench_ekdaa.executing.executor import PartlyDone, executor, usable_cores
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.sweep import check_workers, choose_device

ROOT = Path(__file__).parent.parent.parent


def square(number, progress):
    bar = progress.task(f"square {number}", 1)
    bar.advance(1, "done")
    progress.line(f"line {number}")
    return number**2, os.getpid(), torch.get_num_threads()


def doze(progress):
    time.sleep(60)


def die(progress):
    os.kill(os.getpid(), signal.SIGKILL)


def be_terminated(progress):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def use_the_standard_streams(progress):
    """Do what somebody's code may do: print, ask for a key, and hear of Ctrl-C."""
    print("printed", flush=True)
    os.write(1, b"written")
    os.kill(os.getpid(), signal.SIGINT)
    return sys.stdin.read(), os.read(0, 1)


def die_quietly(progress):
    os._exit(0)


def end_the_program(progress):
    sys.exit(3)


class Strange(Exception):
    """An error that cannot be pickled and made again."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def be_strange(progress):
    raise Strange("a", "b")


def complain(progress):
    raise UsageError("one line")


def leave(path, progress):
    path.touch()


def leave_later(path, progress):
    time.sleep(0.3)
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

    def line(self, text):
        self.seen.append((text, "line"))


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_run_on_one_thread_each_and_report_progress(workers):
    threads, watcher = torch.get_num_threads(), Watcher()
    with executor(workers, watcher) as runner:
        results = dict(runner.run([partial(square, number) for number in range(4)]))
        deadline = time.perf_counter() + 10
        while len(watcher.seen) < 12 and time.perf_counter() < deadline:
            time.sleep(0.01)
    assert {position: result[0] for position, result in results.items()} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert {result[2] for result in results.values()} == {1}
    assert ({result[1] for result in results.values()} == {os.getpid()}) == (workers == 1)
    assert sorted(label for label, total in watcher.seen if total == 1) == [f"square {number}" for number in range(4)]
    assert sorted(text for text, kind in watcher.seen if kind == "line") == [f"line {number}" for number in range(4)]
    assert len({result[1] for result in results.values()}) <= workers  # each process does one job after another
    assert watcher.seen.count((1, "done")) == 4
    assert torch.get_num_threads() == threads


class Steps:
    """Gives a job that needs the results of others once these were taken, and says None before."""

    def __init__(self):
        self.taken, self.given, self.asked = [], [], 0

    def __iter__(self):
        for number, needed in ((2, 0), (3, 1), (4, 2)):
            while len(self.taken) < needed:
                self.asked += 1
                yield None
            self.given.append((number, len(self.taken)))
            yield partial(square, number)


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_may_be_given_only_once_results_that_they_need_were_taken(workers):
    steps = Steps()
    with executor(workers, Silent()) as runner:
        assert runner.slots == workers
        for position, result in runner.run(steps):
            steps.taken.append((position, result[0]))
    assert steps.taken == [(0, 4), (1, 9), (2, 16)]
    assert steps.given == [(2, 0), (3, 1), (4, 2)]
    assert steps.asked == (2 if workers == 2 else 0)  # here nothing is ever left to take


def test_a_workers_death_is_one_clear_line_and_its_errors_are_its_own():
    with executor(2, Silent()) as runner:
        with pytest.raises(WorkFailed, match=r"a worker process died in the middle of a job: it was killed.*--workers"):
            list(runner.run([die]))
        with pytest.raises(WorkFailed, match=r"ended by itself with exit code 0, as after os\._exit"):
            list(runner.run([die_quietly]))
        with pytest.raises(WorkFailed, match=r"was stopped by the signal SIGTERM; .* Run the same command again\.$"):
            list(runner.run([be_terminated]))
        with pytest.raises(UsageError, match="one line") as caught:
            list(runner.run([complain]))
        assert "in complain" in str(caught.value.__cause__)  # where it came from, for --debug
        with pytest.raises(WorkFailed, match="Strange: a b"):
            list(runner.run([be_strange]))


def test_what_a_job_prints_reaches_the_user_and_what_it_reads_is_nothing_of_the_drivers(capfd):
    with executor(2, Silent()) as runner:
        assert list(runner.run([use_the_standard_streams])) == [(0, ("", b""))]
    found = capfd.readouterr()
    assert "printed" in found.err
    assert "written" in found.err
    assert found.out == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_somebodys_sys_exit_does_not_end_the_program(workers):
    with executor(workers, Silent()) as runner, pytest.raises(WorkFailed, match=r"ends the program \(SystemExit: 3\)"):
        list(runner.run([end_the_program]))


def test_a_worker_that_was_killed_while_it_was_idle_is_replaced():
    with executor(2, Silent()) as runner:
        ((_, first),) = runner.run([partial(square, 3)])
        os.kill(first[1], signal.SIGKILL)
        ((_, second),) = runner.run([partial(square, 4)])
    assert (first[0], second[0]) == (9, 16)
    assert first[1] != second[1]


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


def test_workers_in_the_middle_of_a_long_job_are_gone_when_the_executor_is():
    with executor(2, Silent()) as runner:
        results = runner.run([partial(square, 1), doze, partial(square, 2), doze])
        workers = {next(results)[1][1], next(results)[1][1]}
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)  # not even as zombies
    with pytest.raises(WorkFailed, match="were stopped"):
        list(runner.run([doze]))


def test_when_nobody_waits_for_more_results_no_more_jobs_are_begun(tmp_path):
    with executor(2, Silent()) as runner:
        results = runner.run([partial(leave_later, tmp_path / str(number)) for number in range(20)])
        next(results)
        results.close()
        time.sleep(3)  # long enough for all of them
    assert len(list(tmp_path.iterdir())) <= 10


def test_an_executor_leaves_the_handling_of_ctrl_c_as_it_was_and_may_be_used_in_any_thread():
    before, failures = signal.getsignal(signal.SIGINT), []

    def use():
        try:
            with executor(2, Silent()):
                pass
        except Exception as error:
            failures.append(error)

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert failures == []
    assert signal.getsignal(signal.SIGINT) is before


DRIVER = """
from functools import partial
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.executing.executor import executor
from tests.executing.test_executor import doze, square
with executor(2, Silent()) as runner:
    for _, (_, worker, _) in runner.run([partial(square, 1), doze, partial(square, 2), doze]):
        print(worker, flush=True)
"""


@pytest.mark.parametrize(
    "signals", [[signal.SIGKILL], [signal.SIGTERM], [signal.SIGINT] * 3], ids=lambda given: given[0].name
)
def test_workers_in_the_middle_of_a_long_job_do_not_outlive_their_driver(signals):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    workers = {int(driver.stdout.readline()) for _ in range(2)}
    for number in signals:
        driver.send_signal(number)
    driver.communicate()
    deadline = time.perf_counter() + 10
    while not all(map(is_gone, workers)) and time.perf_counter() < deadline:
        time.sleep(0.05)
    assert all(map(is_gone, workers))


def is_gone(process):
    """Whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", "", 7, None, True, torch.device("meta")])
def test_a_device_that_cannot_compute_here_is_refused(device):
    with pytest.raises(UsageError, match=r"device .* cannot be used here"):
        choose_device(device)


def test_a_device_may_be_named_by_torchs_own_type():
    assert choose_device(torch.device("cpu")) == choose_device("cpu") == "cpu"


@pytest.mark.parametrize("workers", [0, -1, True, 1.0, "2", 1001, 10**30])
def test_workers_are_a_whole_number(workers):
    with pytest.raises(UsageError, match=r"workers: must be (a whole number|at least 1|at most 1000)"):
        check_workers(workers)


def test_no_number_of_workers_stands_for_processes_and_one_for_this_process():
    for workers, apart in ((None, True), (np.int64(1), False)):
        with executor(check_workers(workers), Silent()) as runner:
            ((_, result),) = runner.run([partial(square, 3)])
        assert (result[1] != os.getpid()) == apart


def test_no_number_is_one_process_per_core_on_a_cpu_and_one_on_a_gpu(monkeypatch):
    asked = []

    class Pool:
        def __init__(self, count, progress):
            asked.append(count)

        def stop(self):
            pass

    monkeypatch.setattr(worker_processes, "WorkerPool", Pool)
    for device in ("cpu", "cuda:0"):
        with executor(None, Silent(), device):
            pass
    assert asked == [usable_cores(), 1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tell which cores may be used")
def test_cores_that_this_process_may_not_use_are_not_counted():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)
