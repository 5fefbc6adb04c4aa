"""A run folder under kills, full disks, twins and readers: always usable, and never a result lost or altered."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock, Timeout

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.storing.keys import CraftingKey, OutcomeKey
from robustbench_ekdaa.storing.outcomes import AttackRecord, CraftingRecord, DataRecord, ImageRecord, ModelRecord
from robustbench_ekdaa.storing.packing import Roles, unpack_classes
from robustbench_ekdaa.storing.sealed import Damaged
from robustbench_ekdaa.storing.store import open_run, reading, writing

from ..support.kept_lines import Lines

FINGERPRINT, IMAGES = "f" * 64, "i" * 16


def model(number):
    return ModelRecord(f"{number:016x}", f"model{number}", "", "backprop", "made", number, fingerprint=FINGERPRINT)


def fill(store, classes=10, images=50, seed=0):
    """Store a sweep of one model and its predictions for clean images; return these."""
    draw = np.random.default_rng(seed)
    labels, first = draw.integers(0, classes, images), np.zeros((2, 1, 2, 2), np.float32)
    roles = Roles(surrogates=[], targets=[model(0).key], attacks=[], epsilons=[0.0])
    data = DataRecord(FINGERPRINT, "made", "Made", tuple(str(number) for number in range(classes)))
    store.add_sweep(data, ImageRecord(IMAGES, FINGERPRINT, np.arange(images), labels, first), (), {}, roles, "sweep")
    store.add_model(model(0))
    predictions = draw.integers(0, classes, images)
    store.add_outcomes(IMAGES, {OutcomeKey.clean(model(0).key): predictions})
    return predictions


def in_a_fork(work):
    """Run something in a copy of this process, which then ends without any cleaning up; return its process id."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def exit_code(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def check_kills(folder, kills, seed):
    """Kill processes that make one run folder after the other; every folder must be usable afterwards."""
    draw = random.Random(seed)

    begun, begin = os.pipe()

    def make_runs(number):
        for count in range(1000):
            with writing(folder / f"{number}-{count}") as store:
                store.add_model(model(count))
            os.write(begin, b"!" if count == 0 else b"")

    for number in range(kills):
        process = in_a_fork(lambda number=number: make_runs(number))
        os.read(begun, 1)
        time.sleep(draw.uniform(0, 0.1))
        os.kill(process, signal.SIGKILL)
        assert exit_code(process) == -signal.SIGKILL
    runs = sorted(folder.iterdir())
    whole = 0
    for run in runs:
        count = int(run.name.split("-")[1])
        if (run / "results.sqlite").exists():  # it is there as a whole or not at all
            with reading(run) as store:
                assert list(store.models()) in ([], [model(count).key])
                whole += len(store.models())
        with writing(run) as store:
            store.add_model(model(7))
            assert model(7).key in store.models()
        assert sorted(path.name for path in run.iterdir()) == [".lock", "results.sqlite"]
    return len(runs), whole


def test_a_folder_whose_making_was_killed_at_any_instant_is_usable(tmp_path):
    runs, whole = check_kills(tmp_path, kills=10, seed=0)
    assert runs >= whole >= 10


@pytest.mark.slow
def test_two_hundred_kills_while_folders_are_made_leave_none_unusable(tmp_path):
    check_kills(tmp_path, kills=200, seed=1)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.slow
def test_a_folder_whose_making_was_killed_at_any_system_call_is_usable(tmp_path):
    script = (
        "import sys; from robustbench_ekdaa.storing.store import writing\n"
        "with writing(sys.argv[1]) as store: store.keep_in_one_file()\n"
    )
    calls = "openat,rename,unlink,fsync,fdatasync,pwrite64,mkdir,rmdir,ftruncate"
    for count in range(1, 41):
        run = tmp_path / f"run{count}"
        trace = ["strace", "-f", "-P", str(run), "-e", f"inject={calls}:signal=SIGKILL:when={count}"]
        subprocess.run([*trace, "-o", "/dev/null", sys.executable, "-c", script, run], check=False)
        with writing(run) as store:
            store.add_model(model(0))
        with reading(run) as store:
            assert list(store.models()) == [model(0).key]


def test_processes_that_start_on_a_new_folder_together_all_store_what_they_have(tmp_path):
    for round_ in range(5):
        run = tmp_path / f"run{round_}"

        def store_one(number, run=run):
            with writing(run) as store:
                store.add_model(model(number))

        processes = [in_a_fork(lambda number=number: store_one(number)) for number in range(4)]
        assert [exit_code(process) for process in processes] == [0] * 4
        with reading(run) as store:
            assert set(store.models()) == {model(number).key for number in range(4)}


def limit_files(size):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 1, 512, 4096, 20_000, 60_000, 100_000])
def test_a_folder_made_on_a_full_disk_is_one_clear_line_and_usable_afterwards(tmp_path, size):
    """A file size limit stands in for the full disk: the write itself fails, as it would there."""
    run = tmp_path / "run"

    def make():
        limit_files(size)
        try:
            with writing(run) as store:
                for number in range(500):
                    store.add_model(model(number))
        except WorkFailed as error:
            os._exit(3 if re.search(r"results.sqlite: could not be written .* Run the same", str(error)) else 4)

    assert exit_code(in_a_fork(make)) in (0, 3)
    before = []
    if (run / "results.sqlite").exists():
        with reading(run) as store:
            before = list(store.models())
    with writing(run) as store:
        store.add_model(model(1000))
        assert list(store.models()) == [*before, model(1000).key]


def test_a_copy_of_the_one_file_holds_all_that_was_stored_up_to_the_last_phase(tmp_path):
    run, alone = tmp_path / "run", tmp_path / "alone"
    alone.mkdir()

    def be_killed():
        with writing(run) as store:
            store.add_model(model(0))
            store.keep_in_one_file()
            store.add_model(model(1))
            os.kill(os.getpid(), signal.SIGKILL)

    assert exit_code(in_a_fork(be_killed)) == -signal.SIGKILL
    assert (run / "results.sqlite-wal").exists()
    shutil.copyfile(run / "results.sqlite", alone / "results.sqlite")
    with reading(alone) as store:
        assert list(store.models()) == [model(0).key]
    with reading(run) as store:
        assert list(store.models()) == [model(0).key, model(1).key]
    with writing(run) as store:
        assert list(store.models()) == [model(0).key, model(1).key]
    assert sorted(path.name for path in run.iterdir()) == [".lock", "results.sqlite"]


@pytest.mark.parametrize("left", [("-wal", "-shm"), ("-wal",)])
def test_a_read_only_copy_of_a_killed_run_is_read(tmp_path_factory, left):
    # Not under tmp_path, which nobody but its owner may enter.
    home = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"killed-{os.getpid()}-{len(left)}"
    run, copy = home / "run", home / "copy"
    copy.mkdir(parents=True)

    def be_killed():
        with writing(run) as store:
            fill(store)
            store.keep_in_one_file()
            store.add_model(model(1))
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        assert exit_code(in_a_fork(be_killed)) == -signal.SIGKILL
        for suffix in ("", *left):
            shutil.copyfile(run / f"results.sqlite{suffix}", copy / f"results.sqlite{suffix}")
            (copy / f"results.sqlite{suffix}").chmod(0o444)
        copy.chmod(0o555)
        content = {path.name: path.read_bytes() for path in copy.iterdir()}

        def look():
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)  # root may write everywhere
            assert not os.access(copy, os.W_OK)
            with reading(copy) as store:
                assert list(store.models()) == [model(0).key, model(1).key]
            assert len(open_run(copy)) == 1

        assert exit_code(in_a_fork(look)) == 0
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == content
    finally:
        copy.chmod(0o755)
        shutil.rmtree(home)


def test_a_second_writer_waits_and_says_so_while_readers_do_not_wait(tmp_path):
    lines, done = Lines(), []

    def second():
        with writing(tmp_path, lines) as store:
            done.append(list(store.models()))
            store.add_model(model(2))

    with writing(tmp_path) as store:
        store.add_model(model(1))
        thread = threading.Thread(target=second)
        thread.start()
        for _ in range(500):
            if lines.lines:
                break
            time.sleep(0.01)
        (line,) = lines.lines
        assert "another command works in this folder; waiting until it has finished" in line
        with reading(tmp_path) as other:
            assert list(other.models()) == [model(1).key]
        store.add_model(model(3))
        assert not done
    thread.join(timeout=30)
    assert done == [[model(1).key, model(3).key]]
    with reading(tmp_path) as store:
        assert list(store.models()) == [model(1).key, model(3).key, model(2).key]


def test_a_reader_sees_one_state_whatever_is_written_meanwhile(tmp_path):
    with writing(tmp_path) as store:
        fill(store)
        with reading(tmp_path) as early:
            before = early.models()
            store.add_model(model(5))
            assert early.models() == before
        with reading(tmp_path) as late:
            assert model(5).key in late.models()


@pytest.mark.parametrize("classes", [2, 256, 257, 65_535, 65_536, 65_537, 100_000])
def test_the_largest_class_is_stored_as_it_is(tmp_path, classes):
    predictions = np.array([0, classes - 1, classes, 1] * 10)  # the number of classes itself stands for NaN
    with writing(tmp_path) as store:
        fill(store, classes, images=40)
        store.add_outcomes(IMAGES, {OutcomeKey.clean(model(0).key): predictions})
    (outcomes,) = open_run(tmp_path)
    assert outcomes.clean[model(0).key].tolist() == predictions.tolist()


def test_a_finished_run_is_one_plain_file_that_is_read_where_nothing_can_be_written(tmp_path):
    with writing(tmp_path) as store:
        predictions = fill(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "results.sqlite"]
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    (outcomes,) = open_run(tmp_path)
    assert outcomes.clean[model(0).key].tolist() == predictions.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "results.sqlite"]


def test_what_is_no_file_or_no_name_is_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "results.sqlite")
    with pytest.raises(UsageError, match="not a regular file"), writing(tmp_path):
        pass
    with pytest.raises(UsageError, match="no results here"), reading(tmp_path):
        pass
    long = tmp_path / ("x" * 300)
    for opened in (reading, writing):
        with pytest.raises(UsageError, match="File name too long") as caught, opened(long):
            pass
        assert "\n" not in str(caught.value)


def test_a_run_folder_may_have_any_name_and_a_command_any_text(tmp_path):
    for name in (b"caf\xe9", "ε 50 %".encode(), b"a?b#c%20d", b"new\nline"):
        run = tmp_path / os.fsdecode(name)
        with writing(run, Silent()) as store:
            fill(store)
            store.add_sweep(
                DataRecord(FINGERPRINT, "made", "Made", ("0", "1")),
                ImageRecord(IMAGES, FINGERPRINT, np.arange(2), np.arange(2), np.zeros((1, 1, 2, 2), np.float32)),
                (),
                {"imports": os.fsdecode(name)},
                Roles(surrogates=[], targets=[], attacks=[], epsilons=[]),
                f"sweep --run {os.fsdecode(name)}",
            )
        with reading(run) as store:
            assert store.commands()[-1] == f"sweep --run {name.decode('utf-8', 'replace')}".replace("\ufffd", "?")


def test_a_file_whose_making_was_cut_short_by_the_first_release_is_new(tmp_path):
    """That release switched to WAL, which writes the first page, before it laid out the tables."""
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as database:
        database.execute("PRAGMA journal_mode = WAL")
    assert (tmp_path / "results.sqlite").stat().st_size == 4096
    with pytest.raises(UsageError, match="no results here"), reading(tmp_path):
        pass
    with writing(tmp_path) as store:
        store.add_model(model(0))
    with reading(tmp_path) as store:
        assert list(store.models()) == [model(0).key]


def test_a_store_of_the_first_release_whose_upgrade_was_killed_or_found_no_space_is_what_it_was(released, tmp_path):
    draw, before = random.Random(0), Results(open_run(released)).frame()
    begun, begin = os.pipe()

    def upgrade(run, size=None):
        if size:
            limit_files(size)
        os.write(begin, b"!")
        try:
            with writing(run):
                pass
        except WorkFailed:
            os._exit(3)

    ends = set()
    for number in range(8):
        run = shutil.copytree(released, tmp_path / f"run{number}")
        process = in_a_fork(lambda run=run, number=number: upgrade(run, 20_000 * number if number % 2 else None))
        os.read(begun, 1)
        if number % 2 == 0:
            time.sleep(draw.uniform(0, 0.06))
            os.kill(process, signal.SIGKILL)
        ends.add(exit_code(process))
        pd.testing.assert_frame_equal(Results(open_run(run)).frame(), before)
        with writing(run) as store:
            assert len(store.commands()) == 2
        pd.testing.assert_frame_equal(Results(open_run(run)).frame(), before)
    assert 3 in ends  # a limit was too small


def test_what_is_absent_is_none_in_python_and_an_empty_text_in_the_file(tmp_path):
    noise = CraftingKey(None, "noise", 0.1)
    with writing(tmp_path) as store:
        predictions = fill(store)
        store.add_model(replace(model(1), fingerprint=None))
        store.add_outcomes(IMAGES, {noise.of(model(0).key): predictions}, [CraftingRecord(noise, {}, None)])
        roles = Roles(surrogates=[], targets=[], attacks=[], epsilons=[], imports={"noise": None})
        record = AttackRecord("noise", "noise", "", "linf", {"kind": "imported"})
        data, (images,) = store._data()[FINGERPRINT], store._image_sets().values()
        store.add_sweep(data, images, [record], {}, roles, None)
    with reading(tmp_path) as store:
        assert set(store.stored(IMAGES)) == {OutcomeKey.clean(model(0).key), noise.of(model(0).key)}
        assert (store.models()[model(1).key].fingerprint, store.models()[model(1).key].error) == (None, None)
        assert store.commands() == ["sweep", None]
        (outcomes,) = store.outcomes()
    assert {cell.key for cell in outcomes.cells} == {noise.of(model(0).key)}
    assert set(outcomes.craftings) == {noise}
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as database:
        assert database.execute("SELECT surrogate, attack FROM outcomes").fetchall() == [("", ""), ("", "noise")]
        written, command = database.execute("SELECT roles, command FROM sweeps").fetchall()[-1]
        assert (json.loads(written)["imports"], command) == ({"noise": ""}, "")
        assert database.execute("SELECT error, fingerprint FROM models").fetchall()[-1] == ("", "")


@pytest.mark.parametrize("width", [3, 5, 6, 7])
def test_predictions_of_a_width_that_no_number_has_are_damage(width):
    with pytest.raises(Damaged, match="predictions have a wrong length"):
        unpack_classes(zlib.compress(bytes(4 * width)), 4, 10)


def test_a_lost_row_is_told_by_the_number_that_should_be_there(tmp_path):
    with writing(tmp_path) as store:
        for number in range(3):
            store.add_model(model(number))
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as database, database:
        database.execute("DELETE FROM models WHERE number = 2")
    with pytest.raises(UsageError, match="models has 2 rows where 3 were written"), reading(tmp_path) as store:
        store.models()


def test_a_store_lets_two_processes_in_one_after_the_other(tmp_path):
    lock = FileLock(tmp_path / ".lock", timeout=0)
    with writing(tmp_path), pytest.raises(Timeout):
        lock.acquire()
    with lock:
        assert lock.is_locked
