"""Files: whole or not at all, never through a planted link, and never in the place of what is no file."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.files import FACTS, output_file, read_tensors, tidy, whole_file, whole_folder, write_tensors
from robustbench_ekdaa.files import writing as files

from .support.full_disk import no_file_larger_than


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write(path, text="new"):
    with whole_file(path) as draft:
        draft.write_text(text)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000, 0o222])
def test_files_and_folders_have_the_permissions_that_the_umask_gives(tmp_path, mask):
    with umask(mask):
        write(tmp_path / "text")
        write_tensors(tmp_path / "tensors", {"a": torch.ones(3)}, {})
        with whole_folder(tmp_path / "folder") as draft:
            (draft / "x").write_text("x")
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {"text": 0o666 & ~mask, "tensors": 0o666 & ~mask, "folder": 0o777 & ~mask}


def test_a_failure_leaves_the_older_file_and_no_rubbish(tmp_path):
    write(tmp_path / "a", "older")
    with pytest.raises(UnicodeEncodeError), whole_file(tmp_path / "a") as draft:
        draft.write_text("half \ud800", encoding="utf-8")
    with no_file_larger_than(10), pytest.raises(OSError, match="large"):
        write(tmp_path / "a", "x" * 100)
    assert (tmp_path / "a").read_text() == "older"
    assert names(tmp_path) == ["a"]


def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "chain").symlink_to("link")
    for text in ("made", "replaced"):
        with output_file(tmp_path / "chain") as draft:
            draft.write_text(text)
        assert (tmp_path / "there" / "file").read_text() == text
    assert (tmp_path / "chain").is_symlink()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_files_are_replaced_not_pipes_or_folders(tmp_path, make, through_a_link):
    """As /dev/stdout was: a link to a pipe, or to a device."""
    make(tmp_path / "special")
    (tmp_path / "link").symlink_to("special")
    kind = stat.S_IFMT((tmp_path / "special").stat().st_mode)
    path = tmp_path / ("link" if through_a_link else "special")
    with pytest.raises(UsageError) as told, output_file(path) as draft:
        draft.write_text("new")
    assert str(path) in str(told.value)
    assert "Choose another --out, or - for standard output" in str(told.value)
    assert stat.S_IFMT((tmp_path / "special").stat().st_mode) == kind
    assert names(tmp_path) == ["link", "special"]


def test_standard_output_shown_as_a_link_of_the_system_is_not_replaced(tmp_path):
    """/proc/self/fd/1 is how /dev/stdout is reached; here it leads to a pipe."""
    code = "import sys; from robustbench_ekdaa.files import *\nwith output_file(sys.argv[1]) as draft: pass"
    (tmp_path / "out").symlink_to("/proc/self/fd/1")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert "only files are replaced" in done.stderr
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("place", ["loop", "file/x", "x" * 300])
def test_a_place_that_cannot_be_is_one_line(tmp_path, place):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError) as told, output_file(tmp_path / place) as draft:
        draft.write_text("new")
    assert "\n" not in str(told.value)
    assert names(tmp_path) == ["file", "loop"]


def test_a_full_disk_is_told_from_a_wrong_path(tmp_path):
    full = pytest.raises(WorkFailed, match="nothing that was there is lost")
    with no_file_larger_than(10), full, output_file(tmp_path / "a") as draft:
        draft.write_text("x" * 100)


def test_a_hyphen_is_standard_output_byte_by_byte(tmp_path):
    code = "from robustbench_ekdaa.files import *\nwith output_file('-') as draft: draft.write_bytes(bytes(range(256)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout == bytes(range(256))
    assert names(tmp_path) == []


def test_links_planted_beside_a_file_are_never_followed(tmp_path):
    """The names of unfinished files cannot be guessed; those of early releases could.

    Of the files that the tool chooses the place of, not even a link with the file's own name is followed.
    """
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("a", "b", "a.tmp", f".b.{os.getpid()}.tmp", ".a.partial", "file"):
        (tmp_path / name).symlink_to(victim)
    write(tmp_path / "a")
    write_tensors(tmp_path / "b", {"x": torch.ones(1)}, {})
    assert victim.read_text() == "mine"


# -- leftovers -------------------------------------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from robustbench_ekdaa.files import *
with {kind}(Path(sys.argv[1])) as draft:
    (draft if {kind} is whole_file else draft / "x").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@contextmanager
def writing(kind, path):
    """Another process in the middle of writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER.format(kind=kind), path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("kind", ["whole_file", "whole_folder"])
def test_what_a_killed_process_left_is_tidied_and_what_a_living_one_holds_is_not(tmp_path, kind):
    with writing(kind, tmp_path / "a") as process:
        held = names(tmp_path)
        tidy(tmp_path)
        assert names(tmp_path) == held != []
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert names(tmp_path) == held
        tidy(tmp_path)
        assert names(tmp_path) == []


def test_the_next_export_tidies_what_a_killed_one_left(tmp_path):
    with writing("whole_file", tmp_path / "a"):
        pass
    assert len(names(tmp_path)) == 1
    with output_file(tmp_path / "a") as draft:
        draft.write_text("x")
    assert names(tmp_path) == ["a"]


def test_leftovers_of_early_releases_go_when_they_are_old_and_nothing_else_does(tmp_path):
    old, young, mine = ".a.abcd_123.partial", ".a.abcd_124.partial", ".b.abcd_123.partial"
    for name in (old, young, mine):
        (tmp_path / name).write_text("x")
    for name in (old, mine):
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    (tmp_path / ".robustbench-ekdaa.mine.tmp").mkdir()
    (tmp_path / f".robustbench-ekdaa.{'a' * 16}.tmp").symlink_to(tmp_path)
    with output_file(tmp_path / "a") as draft:
        draft.write_text("x")
    left = {young, mine, "a", ".robustbench-ekdaa.mine.tmp", f".robustbench-ekdaa.{'a' * 16}.tmp"}
    assert set(names(tmp_path)) == left


# -- folders ---------------------------------------------------------------------------------------------------------


def test_a_link_to_itself_is_no_folder_to_write(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"), whole_folder(tmp_path / "loop"):
        pytest.fail("was begun")
    assert (tmp_path / "loop").is_symlink()


def test_a_folder_changes_places_with_the_older_one_in_one_step(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_replace_in_two_steps", pytest.fail)
    for text in ("older", "newer"):
        with whole_folder(tmp_path / "report") as draft:
            (draft / "x").write_text(text)
        assert (tmp_path / "report" / "x").read_text() == text
    assert names(tmp_path) == ["report"]


def test_a_folder_is_replaced_where_the_system_cannot_do_it_in_one_step(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    for text in ("older", "newer"):
        with whole_folder(tmp_path / "report") as draft:
            (draft / "x").write_text(text)
        assert (tmp_path / "report" / "x").read_text() == text
    assert names(tmp_path) == ["report"]


KILLED = """
import os, signal, sys
from pathlib import Path
from robustbench_ekdaa.files import writing as files
files._exchange = lambda *_: False
rename, count = Path.rename, 0
def counted(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = counted
with files.whole_folder(Path(sys.argv[1])) as draft:
    (draft / "x").write_text("newer")
"""


def test_a_folder_whose_replacement_was_killed_between_its_two_renames_comes_back(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "x").write_text("older")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "report"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "report").exists()
    tidy(tmp_path)
    assert names(tmp_path) == ["report"]
    assert (tmp_path / "report" / "x").read_text() == "older"


# -- run folders -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "results.sqlite").write_text("everything")
    (tmp_path / "store").symlink_to(folder / "results.sqlite")
    (tmp_path / "again").symlink_to(folder)
    (folder / "elsewhere").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    return folder


@pytest.mark.parametrize(
    "place",
    [
        "run/results.sqlite",
        "run/results.sqlite-wal",
        "run/checkpoints/0123456789abcdef.safetensors",
        "run/new.csv",
        "run/new/deep/file.csv",
        "other/../run/new.csv",
        "store",
        "again/new.csv",
        "run/elsewhere/new.csv",
    ],
)
def test_nothing_in_a_run_folder_is_replaced_or_added(tmp_path, run, place):
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="run folder") as told, output_file(tmp_path / place) as draft:
        draft.write_text("new")
    assert "Choose another --out" in str(told.value)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert (run / "results.sqlite").read_text() == "everything"


def test_a_run_that_has_no_store_yet_is_known_by_its_models_and_logs(tmp_path):
    for number, name in enumerate(("checkpoints/0123456789abcdef.partial.safetensors", "logs/0123456789abcdef.jsonl")):
        path = tmp_path / str(number) / name
        path.parent.mkdir(parents=True)
        path.touch()
        with pytest.raises(UsageError, match="run folder"), output_file(tmp_path / str(number) / "x.csv"):
            pass
    (tmp_path / "mine" / "logs").mkdir(parents=True)
    (tmp_path / "mine" / "logs" / "today.jsonl").touch()
    with output_file(tmp_path / "mine" / "x.csv") as draft:
        draft.touch()
    with output_file(tmp_path / "0" / ".." / "x.csv") as draft:
        draft.touch()


# -- tensors ---------------------------------------------------------------------------------------------------------


def test_tensors_and_facts_come_back_with_a_digest_that_is_the_same_every_time(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "all": shared,
        "again": shared,
        "column": shared[:, 1],
        "last": torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "half": torch.ones((), dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
        "none too": torch.zeros(0, 3),
    }
    facts = {"seed": 3, "loss": 0.1 + 0.2, "nested": {"digest": "0" * 64, "b": [None, "\N{GREEK SMALL LETTER BETA}"]}}
    written = [write_tensors(tmp_path / name, tensors, facts) for name in "ab"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = read_tensors(tmp_path / "a")
    assert found.facts == {**facts, "digest": written[0]} == {**facts, "digest": written[1]}
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensors[name]) for name in tensors)
    write_tensors(tmp_path / "c", {**tensors, "half": torch.zeros((), dtype=torch.bfloat16)}, facts)
    assert read_tensors(tmp_path / "c").facts["digest"] != written[0]


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    write_tensors(tmp_path / "whole", {"a": torch.arange(5.0), "b": torch.arange(3)}, {"seed": 1, "deep": {"x": [1.5]}})
    whole, path = (tmp_path / "whole").read_bytes(), tmp_path / "damaged"
    damaged = [
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in (0, 5)
    ]
    damaged += [whole[:length] for length in range(0, len(whole), 7)] + [whole + b"\0", whole * 2]
    told = []
    for content in damaged:
        path.write_bytes(content)
        try:
            found = read_tensors(path)
        except UsageError as error:
            told.append(str(error))
        else:  # whoever asks for this tool's facts, or for a digest, finds none
            assert found.facts is None or "digest" not in found.facts
    assert len(told) > 0.9 * len(damaged)
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in told)


@pytest.mark.parametrize(
    "entry",
    [
        "[" * 100_000,
        "[1]",
        "nothing",
        "9" * 10_000,
        '{"digest": "' + "0" * 64 + '"}',
        '{"digest": 5}',
        '{"digest": null}',
    ],
)
def test_facts_that_are_damaged_in_any_way_are_one_line(tmp_path, entry):
    save_file({"a": torch.ones(2)}, tmp_path / "x", metadata={FACTS: entry})
    with pytest.raises(UsageError, match="is damaged") as told:
        read_tensors(tmp_path / "x")
    assert len(str(told.value)) < 500
    assert "\n" not in str(told.value)


def test_what_cannot_be_read_is_told_from_what_is_not_there_or_damaged(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in (
        ("missing", "there is no such file"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("loop", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=words):
            read_tensors(tmp_path / name)


@contextmanager
def as_nobody():
    """Root may read everything; for a while we are somebody who may not."""
    root = os.geteuid() == 0
    os.seteuid(65534) if root else None
    try:
        yield
    finally:
        os.seteuid(0) if root else None


def test_a_file_that_one_may_not_read_is_not_said_to_be_missing_or_damaged(tmp_path):
    write_tensors(tmp_path / "x", {"a": torch.ones(3)}, {})
    (tmp_path / "x").chmod(0)
    with as_nobody(), pytest.raises(UsageError, match=r"x: cannot be read \(Permission denied\)$"):
        read_tensors(tmp_path / "x")


def test_a_file_of_another_tool_has_no_facts(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x", metadata={"norm": "linf"})
    found = read_tensors(tmp_path / "x")
    assert (found.facts, found.header) == (None, {"norm": "linf"})


def test_facts_that_json_cannot_hold_leave_the_older_file(tmp_path):
    write_tensors(tmp_path / "x", {}, {"n": 1})
    with pytest.raises(TypeError):
        write_tensors(tmp_path / "x", {}, {"n": object()})
    assert read_tensors(tmp_path / "x").facts["n"] == 1
    assert names(tmp_path) == ["x"]
    assert json.dumps(read_tensors(tmp_path / "x").facts)
