"""The process that workers are forked from: it is one for all, and whoever dies, nothing is left behind or in doubt."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustbench_ekdaa import memory
from robustbench_ekdaa.executing import executor as executors
from robustbench_ekdaa.executing.executor import executor, usable_cores, workers_for
from robustbench_ekdaa.executing.server import CAN_FORK, ServerGone, server
from robustbench_ekdaa.progress import Silent

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="workers are forked on Linux alone")


def about_itself(progress):
    return os.getpid(), os.getppid(), os.getcwd(), os.environ.get("MINE"), len(os.listdir("/proc/self/task"))


def alone(process):
    return not Path(f"/proc/{process}").exists()


def within(seconds, happens):
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(0.05)
    return happens()


def test_all_workers_of_a_program_come_from_one_server_which_computes_nothing_and_has_no_threads():
    parents = set()
    for _ in range(2):
        with executor(2, Silent()) as runner:
            parents |= {found[1] for _, found in runner.run([about_itself] * 2)}
    assert parents == {server().process.pid}
    assert len(os.listdir(f"/proc/{server().process.pid}/task")) == 1


def test_a_worker_is_where_its_driver_is_now_and_knows_its_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with executor(2, Silent()) as runner:
        ((_, found),) = runner.run([about_itself])
    assert found[2:4] == (str(tmp_path), None)
    before = server()
    monkeypatch.setenv("MINE", "new")
    with executor(2, Silent()) as runner:
        ((_, found),) = runner.run([about_itself])
    assert found[3] == "new"
    assert server() is not before


def test_a_server_that_was_killed_is_replaced_and_its_workers_are_ended():
    first = server()
    worker = first.fork()
    assert worker.poll() is None
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    with pytest.raises(ServerGone):
        first.ask(f"poll {worker.pid}")
    assert worker.poll() == -signal.SIGKILL
    assert within(10, lambda: alone(worker.pid) or "Z" in Path(f"/proc/{worker.pid}/stat").read_text().split()[2])
    with executor(2, Silent()) as runner:
        ((_, found),) = runner.run([about_itself])
    assert found[1] == server().process.pid != first.process.pid


def test_how_a_worker_ended_is_told_as_often_as_it_is_asked_and_to_whoever_asks():
    one = server().fork()
    one.kill()
    assert (one.poll(), one.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    assert server().ask(f"poll {one.pid}") == server().ask(f"kill {one.pid}") == str(-signal.SIGKILL)
    assert alone(one.pid)


WITH_ANSWERS_THAT_NOBODY_READ = """
from operator import methodcaller
from robustbench_ekdaa.executing.workers import WorkerProcess
worker = WorkerProcess()
process = worker.process
worker._give(methodcaller("line", "done"))
worker.outgoing.peek(1)
"""


def test_a_server_and_its_workers_end_when_their_driver_is_killed_with_answers_unread(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        f"{WITH_ANSWERS_THAT_NOBODY_READ}\nimport time\nfrom robustbench_ekdaa.executing.server import server\n"
        "print(server().process.pid, process.pid, flush=True)\ntime.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    processes = list(map(int, driver.stdout.readline().split()))
    assert len(processes) == 2
    time.sleep(0.2)
    driver.kill()
    driver.communicate()
    assert within(20, lambda: all(map(alone, processes)))


def test_workers_are_as_many_as_the_cores_and_the_free_memory_allow(monkeypatch):
    gib = 1024**3
    for free, expected in ((None, 8), (100 * gib, 8), (7 * gib, 3), (gib // 2, 1)):
        monkeypatch.setattr(executors, "usable_cores", lambda: 8)
        monkeypatch.setattr(executors, "available_memory", lambda free=free: free)
        assert workers_for("cpu") == expected
        assert workers_for("cuda") == 1
    assert usable_cores() >= 1


def test_the_memory_that_is_free_is_no_more_than_there_is():
    available, total = memory.available_memory(), memory.total_memory()
    assert available is None or 0 < available <= total
