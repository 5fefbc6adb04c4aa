"""`verify`: every row, checkpoint, log and image that is not what was written is named; a sample done again agrees."""

import json
import random
import shutil
import sqlite3
from contextlib import closing

import pytest
import torch
from typer.testing import CliRunner

import robustbench_ekdaa as rb
from robustbench_ekdaa.cli.app import app
from robustbench_ekdaa.environment import environment
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.scoring import recomputing
from robustbench_ekdaa.scoring.sweep import run_sweep


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with saved images, in a folder that holds its cards."""
    from ..support.quick_models import write_card

    folder = tmp_path_factory.mktemp("verified")
    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(folder, name, rule)
    spec = rb.SweepSpec(
        datasets=("digits",), models=("quick_bp", "quick_ekdaa"), attacks=("fgsm", "noise"), epsilons=(0.1, 0.2),
        images=30, seeds=2, save_images=True,
    )  # fmt: skip
    run_sweep(spec, folder / "run", workspace=rb.Workspace(folder))
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_run_that_is_as_it_was_written_has_no_faults(run, whole):
    found = rb.verify(run)
    assert (found.faults, found.notes) == ((), ())
    assert (found.checkpoints, found.logs, found.images) == (4, 4, 5)
    assert found.outcomes == 4 + 4 * 2 * 4 + 2 * 4  # clean; fgsm on four models at two epsilons on four targets; noise
    with closing(sqlite3.connect(run / "results.sqlite")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = sum(database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables)
    assert found.rows == rows - 1  # the ledger, which counts the others


def flipped(path, draw):
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def flips_noticed(run, pattern, count, seed=0):
    """How many of so many flips of one bit each, in files that match, are noticed."""
    draw, noticed = random.Random(seed), 0
    for _ in range(count):
        path = draw.choice(sorted(run.glob(pattern)))
        before = path.read_bytes()
        flipped(path, draw)
        faults = rb.verify(run).faults
        noticed += any(path.name in fault.where or path.name in fault.what for fault in faults)
        path.write_bytes(before)
    return noticed


FILES = ["checkpoints/*.safetensors", "adversarial/*.safetensors", "logs/*.jsonl"]


@pytest.mark.parametrize("pattern", FILES)
def test_every_flipped_bit_of_a_file_is_noticed(run, pattern):
    assert flips_noticed(run, pattern, 4) == 4


@pytest.mark.slow
@pytest.mark.parametrize("pattern", FILES)
def test_every_flipped_bit_of_a_thousand_is_noticed(run, pattern):
    assert flips_noticed(run, pattern, 1000, seed=1) == 1000


def test_a_flipped_bit_in_the_very_name_of_the_digest_is_noticed(run):
    for path in (next(run.glob("adversarial/*.safetensors")), next(run.glob("checkpoints/*.safetensors"))):
        content = path.read_bytes()
        place = content.index(b"digest", content.index(b"dataset")) + 5
        path.write_bytes(content[:place] + b"u" + content[place + 1 :])
        assert [path.name in fault.where for fault in rb.verify(run).faults] == [True]
        path.write_bytes(content)


def rows_of(run):
    """Where in the store's file the bytes of its rows lie: what is in no row is used by nobody."""
    content = (run / "results.sqlite").read_bytes()
    with closing(sqlite3.connect(run / "results.sqlite")) as database:
        blobs = [
            row[0] for row in database.execute("SELECT right FROM outcomes UNION ALL SELECT classes FROM mistakes")
        ]
    places = [(content.find(blob), len(blob)) for blob in blobs if len(blob) > 8 and content.count(blob) == 1]
    return [place + number for place, length in places for number in range(length)]


def store_flips_noticed(run, count, seed=0):
    path, draw, noticed = run / "results.sqlite", random.Random(seed), 0
    content, places = path.read_bytes(), rows_of(run)
    for _ in range(count):
        place = draw.choice(places)
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        noticed += bool(rb.verify(run).faults)
    path.write_bytes(content)
    return noticed


def test_every_flipped_bit_of_an_outcome_is_noticed(run):
    assert store_flips_noticed(run, 5) == 5


@pytest.mark.slow
def test_every_flipped_bit_of_a_thousand_in_outcomes_is_noticed(run):
    assert store_flips_noticed(run, 1000, seed=1) == 1000


def test_what_is_missing_swapped_or_strange_is_named(run):
    checkpoints = sorted((run / "checkpoints").glob("*.safetensors"))
    logs = sorted((run / "logs").glob("*.jsonl"))
    shutil.copyfile(checkpoints[0], checkpoints[1])
    checkpoints[2].unlink()
    logs[0].unlink()
    shutil.copyfile(checkpoints[3], checkpoints[3].with_name("0123456789abcdef.safetensors"))
    first, *_ = sorted((run / "adversarial").glob("fgsm*.safetensors"))
    first.rename(first.with_name("fgsm-on-nobody-0123456789abcdef.safetensors"))
    found = rb.verify(run)
    told = " | ".join(f"{fault.where}: {fault.what}" for fault in found.faults)
    assert len(found.faults) == 4
    assert f"{checkpoints[1].name}: is not the checkpoint" in told
    assert f"{checkpoints[2].name}: there is no such file" in told
    assert f"{logs[0].name}: cannot be read" in told
    assert "fgsm-on-nobody-0123456789abcdef.safetensors: does not hold what its name says" in told
    assert "1 checkpoints that results.sqlite does not speak of (0123456789abcdef" in found.notes[0]


def test_a_table_with_a_changed_row_is_named_and_the_others_are_read(run):
    with closing(sqlite3.connect(run / "results.sqlite")) as database, database:
        database.execute("UPDATE models SET seed = 7 WHERE seed = 1")
        database.execute("DELETE FROM mistakes WHERE attack != ''")
    told = [fault.what for fault in rb.verify(run).faults]
    assert any("models: row" in what for what in told)
    assert any("mistakes has" in what for what in told)


def test_a_sample_done_again_is_the_same_to_the_bit(run, whole):
    found = rb.verify(run, recompute=1.0, workspace=rb.Workspace(whole))
    assert (found.trainings, found.craftings) == (4, 4 + 1)
    assert (found.faults, found.notes) == ((), ())
    some = rb.verify(run, recompute=0.02, workspace=rb.Workspace(whole))
    assert (some.trainings, some.craftings) == (1, 1)


def test_what_is_done_again_computes_on_one_thread_as_jobs_do(run, whole, monkeypatch):
    threads, step, before = set(), torch.optim.SGD.step, torch.get_num_threads()
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda *given, **more: (threads.add(torch.get_num_threads()), step(*given, **more))[1]
    )
    torch.set_num_threads(2)
    try:
        rb.verify(run, recompute=0.02, workspace=rb.Workspace(whole))
    finally:
        torch.set_num_threads(before)
    assert threads == {1}


def test_other_weights_are_a_fault_on_the_same_versions_and_a_note_on_others(run, whole, monkeypatch):
    monkeypatch.setattr(torch.optim.SGD, "step", changed_step(torch.optim.SGD.step))
    found = rb.verify(run, recompute=0.02, workspace=rb.Workspace(whole))
    assert ["training it again gives other weights" in fault.what for fault in found.faults] == [True]
    monkeypatch.setattr(recomputing, "environment", lambda device: {**environment(device), "torch": "99"})
    found = rb.verify(run, recompute=0.02, workspace=rb.Workspace(whole))
    assert found.faults == ()
    assert f"it was made with torch {torch.__version__}" in found.notes[0]


def changed_step(step):
    """An optimiser's step that also makes every weight a little smaller: as if torch rounded otherwise."""

    def changed(self, *given, **more):
        step(self, *given, **more)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1 - 1e-4)

    return changed


def test_cards_that_are_others_now_are_told_and_nothing_of_them_is_done_again(run, whole, tmp_path):
    from ..support.quick_models import write_card

    for name, rule in (("quick_bp", "backprop"), ("quick_ekdaa", "ekdaa")):
        write_card(tmp_path, name, rule, rate=0.02)
    found = rb.verify(run, recompute=1.0, workspace=rb.Workspace(tmp_path))
    assert (found.trainings, found.craftings, found.faults) == (0, 0, ())
    assert "4 models are not those of the cards of today" in found.notes[0]
    nothing = rb.verify(run, recompute=1.0, workspace=rb.Workspace(run / "logs"))
    assert "nothing of it was done again" in nothing.notes[0]


def test_the_command_says_it_and_ends_with_1_where_something_is_wrong(run, whole):
    line = CliRunner()
    fine = line.invoke(app, ["verify", str(run), "--recompute", "2 %", "--workspace", str(whole), "--device", "cpu"])
    assert fine.exit_code == 0, fine.output
    assert "Done again, and the same: 1 trainings, 1 craftings." in fine.output
    assert "Nothing is wrong." in fine.output
    flipped(next((run / "checkpoints").glob("*.safetensors")), random.Random(0))
    wrong = line.invoke(app, ["verify", str(run)])
    assert wrong.exit_code == 1
    assert "wrong: " in wrong.output
    told = json.loads(line.invoke(app, ["verify", str(run), "--json"]).stdout)
    assert len(told["faults"]) == 1
    assert set(told["faults"][0]) == {"where", "what"}


@pytest.mark.parametrize("share", ["0", "-1 %", "101 %", "some", "nan"])
def test_a_share_that_is_none_is_refused(run, share):
    ended = CliRunner().invoke(app, ["verify", str(run), "--recompute", share])
    assert isinstance(ended.exception, UsageError) or ended.exit_code == 2


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no results here"):
        rb.verify(tmp_path)
