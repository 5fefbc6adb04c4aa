"""What a worker process and its driver say to each other, over real pipes."""

import os
import pickle
import sys
import threading
from contextlib import contextmanager

import pytest

from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.executing import worker
from robustbench_ekdaa.executing.worker import Driver, Unguarded, meaning, receive, refuse_to_start_work, send
from robustbench_ekdaa.registrations import Registrations
from robustbench_ekdaa.registry import RULES


@contextmanager
def pipe():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as end, os.fdopen(writing, "wb") as start:
        yield start, end


def told(start, end):
    """Everything that was sent so far."""
    start.close()
    found = []
    while True:
        try:
            found.append(meaning(receive(end)))
        except EOFError:
            return found


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1_000_000])
def test_messages_arrive_one_by_one_and_whole(size):
    content = os.urandom(size)
    with pipe() as (start, end):
        sending = threading.Thread(target=lambda: [send(start, content), send(start, b"next")])
        sending.start()  # a pipe holds less than a large message
        assert (receive(end), receive(end)) == (content, b"next")
        sending.join()


@pytest.mark.parametrize("kept", [0, 3, 8, 10])
def test_a_message_that_was_cut_short_is_the_end(kept):
    with pipe() as (start, end):
        start.write((worker.LENGTH.pack(5) + b"hello")[:kept])
        start.close()
        with pytest.raises(EOFError):
            receive(end)


def test_the_driver_is_told_of_bars_and_lines_in_order_and_each_bar_has_its_number():
    with pipe() as (start, end):
        driver = Driver(start)
        bars = [driver.task("one", 5), driver.task("two", 6)]
        bars[1].advance()
        bars[0].advance(3, "half way")
        driver.line("a line")
        found = told(start, end)
    assert found == [
        ("task", 0, "one", 5),
        ("task", 1, "two", 6),
        ("advance", 1, 1, None),
        ("advance", 0, 3, "half way"),
        ("line", "a line"),
    ]


def test_messages_of_several_threads_do_not_mix():
    with pipe() as (start, end):
        driver, found = Driver(start), []
        reading = threading.Thread(target=lambda: found.extend(meaning(receive(end)) for _ in range(80)))
        reading.start()
        writers = [threading.Thread(target=lambda: [driver.line("x" * 50_000) for _ in range(20)]) for _ in range(4)]
        for thread in writers:
            thread.start()
        for thread in (*writers, reading):
            thread.join()
    assert found == [("line", "x" * 50_000)] * 80


class Strange(Exception):
    """An error that can be pickled, but not made again."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return worker.sendable(caught)


def test_an_error_travels_as_it_is_with_the_place_it_came_from():
    error, where = raised(UsageError("one line"))
    assert isinstance(meaning(pickle.dumps(error)), UsageError)
    assert "in raised" in where


def test_an_error_that_cannot_travel_becomes_its_type_and_message():
    error, where = raised(Strange("a", "b"))
    assert (type(error), str(error)) == (WorkFailed, "Strange: a b")
    assert "Strange" in where


def test_code_that_ends_the_program_fails_with_its_exit_code():
    error, where = raised(SystemExit(3))
    assert (type(error), str(error)) == (WorkFailed, "its code ends the program (SystemExit: 3)")
    assert where


def registering(folder, body):
    """A script of these lines as what registered a rule in the driver."""
    script = folder / "study.py"
    script.write_text(body)
    return Registrations(((RULES.kind, "never_registered"),), (), {"init_main_from_path": str(script)})


@pytest.fixture
def main_module(monkeypatch):
    """Leave the test run's own `__main__` where it is: a worker exchanges its own."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "__mp_main__", sys.modules["__main__"])


@pytest.mark.usefixtures("main_module")
def test_a_script_may_start_no_work_while_a_worker_runs_it_and_jobs_may_afterwards(tmp_path):
    starts = "from robustbench_ekdaa.executing.worker import refuse_to_start_work\nrefuse_to_start_work()\n"
    with pytest.raises(UsageError, match=r"study\.py: starts work whenever it is run"):
        worker.prepare(registering(tmp_path, starts))
    refuse_to_start_work()


@pytest.mark.usefixtures("main_module")
@pytest.mark.parametrize("body", ["raise SystemExit(7)", "import no_such_module_anywhere"])
def test_a_script_that_a_worker_cannot_run_is_told_with_its_error(tmp_path, body):
    with pytest.raises(
        WorkFailed, match=r"worker processes cannot import what registers things here \((SystemExit|Mod)"
    ):
        worker.prepare(registering(tmp_path, body))
    refuse_to_start_work()


def test_the_end_of_preparing_is_not_a_users_error():
    assert not issubclass(Unguarded, Exception)  # a script's own `except Exception` does not catch it
