"""A job done where there is neither run folder, nor data, nor the cards' files: what is sent along is enough."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.data import shared_dataset
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.executing.parcels import Answer, ToldProgress, as_arrays, carry_out, parcel_for, unpack
from robustbench_ekdaa.learning import model_job
from robustbench_ekdaa.learning.job import checkpoint_path, log_path, partial_path
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.jobs import Checkpoints, CraftAndScore, PredictClean, TrainModel
from robustbench_ekdaa.scoring.plan import CraftJob, SurrogateSet

from ..support.quick_models import write_card

ROOT = Path(__file__).parent.parent.parent

# What another machine does with parcels: it finds nothing at the driver's paths.
ELSEWHERE = """
import pickle, sys
from pathlib import Path
from robustbench_ekdaa.executing.parcels import carry_out
parcels = pickle.loads(Path(sys.argv[1]).read_bytes())
answers = [carry_out(parcel, lambda handle: handle, Path.cwd()) for parcel in parcels]
Path(sys.argv[2]).write_bytes(pickle.dumps(answers))
"""
RULE = "from robustbench_ekdaa.learning.rules.backprop import Backprop\nclass Mine(Backprop): pass\n"
START = """
from robustbench_ekdaa import components
def start():
    return lambda images, context: images + context.epsilon * components.in_unit_ball(context.within("own"))[0]
"""
ATTACK = """
kind = "attack"
name = "my_bim"
norm = "linf"
steps = 2
step_size = "epsilon / steps"
[start]
component = "own.py:start"
"""
NAMES = ("quick_mine", "quick_hard")


def parcel_of(job):
    luggage = job.luggage
    files = {place: np.fromfile(path, np.uint8) for place, path in luggage.files.items()}
    return parcel_for(job, luggage, as_arrays(shared_dataset(luggage.dataset[0])), files)


def write_cards(folder):
    """Write a rule and an attack of one's own, and a model that is trained against that attack."""
    folder.mkdir()
    write_card(folder, "quick_mine", "../shared/mine.py:Mine", epochs=1)
    write_card(folder, "quick_hard", "backprop", epochs=1, more='adversarial = { attack = "my_bim", epsilon = 0.1 }')
    for name, text in (("shared/mine.py", RULE), ("attacks/own.py", START), ("attacks/my_bim.toml", ATTACK)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return Workspace(folder)


class Elsewhere:
    """The same jobs done here, and done in a process for which cards and runs are not at their paths."""

    def __init__(self, folder):
        digits, workspace = shared_dataset("digits"), write_cards(folder / "cards")
        self.jobs = [model_job(digits, workspace.model(name), 0) for name in NAMES]
        self.here, self.there = folder / "here", folder / "there"
        self.empty = folder / "empty"
        self.empty.mkdir()
        trained = [TrainModel(job, self.here, "cpu")(Silent()) for job in self.jobs]
        (self.there / "checkpoints").mkdir(parents=True)
        self.state = partial_path(self.there, self.jobs[0].key)
        self.state.write_bytes(b"damaged")
        wanted = CraftJob(SurrogateSet((self.jobs[0],)), workspace.attacks["my_bim"], "key", ((0.1, (*self.jobs,)),))
        known, about, indices = Checkpoints(self.here, {}), ("digits", digits.fingerprint), torch.arange(20)
        scoring = [
            CraftAndScore(wanted, *about, indices, 0, known, "cpu", 10, show=False),
            PredictClean(self.jobs[1], indices, known, "cpu", 10),
        ]
        self.results = [*trained, *(job(Silent()) for job in scoring)]
        self.work = [*(TrainModel(job, self.there, "cpu") for job in self.jobs), *scoring]
        (folder / "parcels").write_bytes(pickle.dumps([parcel_of(job) for job in self.work]))
        hidden = [folder / "cards", self.here, self.there]
        for path in hidden:
            path.rename(f"{path}-hidden")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ROBUSTBENCH_EKDAA_DATA": str(folder / "none")}
        command = [sys.executable, "-c", ELSEWHERE, str(folder / "parcels"), str(folder / "answers")]
        done = subprocess.run(command, cwd=self.empty, env=environment, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        for path in hidden:
            Path(f"{path}-hidden").rename(path)
        self.answers = pickle.loads((folder / "answers").read_bytes())  # noqa: S301


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return Elsewhere(tmp_path_factory.mktemp("parcels"))


def test_a_machine_without_run_folder_cards_and_files_trains_to_the_bit_and_sends_the_files(elsewhere):
    assert [answer.failure for answer in elsewhere.answers] == [None] * 4
    for job, work, answer, (mine,) in zip(
        elsewhere.jobs, elsewhere.work, elsewhere.answers, elsewhere.results, strict=False
    ):
        (record,) = answer.result
        assert (record.key, record.status) == (mine.key, mine.status) == (job.key, "trained")
        assert record.metrics["test_accuracy"] == mine.metrics["test_accuracy"]
        unpack(answer, work.luggage)
        assert log_path(elsewhere.there, job.key).exists()
        one, other = (
            Checkpoints(run, {}).load(job, shared_dataset("digits"), "cpu").state_dict()
            for run in (elsewhere.here, elsewhere.there)
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_machine_without_run_folder_cards_and_files_attacks_to_the_bit(elsewhere):
    (crafted, clean), answers = elsewhere.results[2:], elsewhere.answers[2:]
    for job in elsewhere.jobs:
        mine, other = (np.concatenate(one[0.1].predictions[job.key]) for one in (crafted, answers[0].result))
        assert np.array_equal(mine, other)
    assert np.array_equal(clean, answers[1].result)
    assert not any(elsewhere.empty.iterdir())  # it left nothing behind


def test_a_stopped_training_goes_on_elsewhere_and_its_saved_state_is_gone_afterwards(elsewhere):
    work, answer = elsewhere.work[0], elsewhere.answers[0]
    place = f"checkpoints/{elsewhere.state.name}"
    assert answer.gone == [place]
    assert any("begins anew" in line for _, line, _ in answer.told.notes if isinstance(line, str))
    elsewhere.state.write_bytes(b"damaged")
    unpack(answer, work.luggage)
    assert checkpoint_path(elsewhere.there, elsewhere.jobs[0].key).exists()
    assert not elsewhere.state.exists()


class Failing:
    """A job that fails with a message about a file of its run folder."""

    def __init__(self, run, luggage):
        self.run, self.luggage = run, luggage

    def at(self, run):
        return Failing(run, self.luggage)

    def __call__(self, progress):
        bar = progress.task("failing", 3)
        bar.advance(1, "one")
        bar.advance(2)
        progress.line("a line")
        raise UsageError(f"{self.run / 'checkpoints'}: is damaged")


def test_an_error_elsewhere_names_the_drivers_files_and_its_progress_is_told(tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")
    job = model_job(shared_dataset("digits"), Workspace(tmp_path).model("quick_bp"), 0)
    luggage = TrainModel(job, tmp_path / "run", "cpu").luggage
    answer = carry_out(parcel_of(Failing(tmp_path / "run", luggage)), lambda handle: handle, tmp_path)
    assert str(answer.failure[0]) == f"{tmp_path / 'run' / 'checkpoints'}: is damaged"
    again = ToldProgress()
    answer.told.repeat(again)
    assert again.tasks == [("failing", 3)]
    assert again.notes == [(0, 3, "one"), (-1, "a line", None)]


def test_a_file_that_comes_back_and_cannot_be_written_is_one_clear_line(tmp_path):
    write_card(tmp_path, "quick_bp", "backprop", epochs=1)
    job = model_job(shared_dataset("digits"), Workspace(tmp_path).model("quick_bp"), 0)
    (tmp_path / "run").write_text("in the way")
    answer = Answer([], None, ToldProgress(), {"logs/one.jsonl": np.zeros(3, np.uint8)}, [], torch.__version__)
    with pytest.raises(WorkFailed, match=r"logs/one\.jsonl: could not be written"):
        unpack(answer, TrainModel(job, tmp_path / "run", "cpu").luggage)
