"""Arguments of the Python interface: one value in every type that means it, and a line for everything else."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa import Benchmark
from robustbench_ekdaa.arguments import share, whole
from robustbench_ekdaa.data import import_dataset, load_dataset
from robustbench_ekdaa.errors import UsageError, shown
from robustbench_ekdaa.learning import TrainingJob

from .support.training_jobs import card

ONES = [1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1), torch.tensor(1, dtype=torch.int32)]
NO_SEEDS = [
    True,
    1.0,
    "1",
    None,
    -1,
    np.True_,
    torch.tensor(True),
    torch.tensor(1.0),
    np.array([1]),
    [1],
    2**63,
    10**6000,
]


@pytest.mark.parametrize("value", ONES, ids=repr)
def test_a_whole_number_of_any_type_is_one_model(digits, value):
    job = TrainingJob(card(), "digits", digits.fingerprint, value)
    assert (type(job.seed), job.key) == (int, TrainingJob(card(), "digits", digits.fingerprint, 1).key)


@pytest.mark.parametrize("value", NO_SEEDS, ids=shown)
def test_what_is_no_whole_number_is_no_seed_wherever_one_is_taken(value, tmp_path):
    for call in (
        lambda: rb.train(card(), "digits", value, tmp_path),
        lambda: rb.load_model(card(), "digits", value, tmp_path),
        lambda: Benchmark(tmp_path).train([card()], "digits", [0, value]),
        lambda: import_dataset(tmp_path, "mine", test_share=0.5, seed=value),
    ):
        with pytest.raises(UsageError, match=r"seeds?: must be"):
            call()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [0, 0.0, -0.0, np.float32(0), np.int64(0), torch.tensor(0.0), Fraction(0)], ids=repr)
def test_nothing_held_out_is_one_model_however_it_is_written(digits, value):
    job = TrainingJob(card(), "digits", digits.fingerprint, 0, value)
    assert job.key == TrainingJob(card(), "digits", digits.fingerprint, 0).key


@pytest.mark.parametrize("value", [0.1, np.float32(0.1), np.float64(0.1), torch.tensor(0.1)], ids=repr)
def test_a_tenth_held_out_is_one_model_however_it_is_written(digits, value):
    job = TrainingJob(card(), "digits", digits.fingerprint, 0, value)
    assert job.key == TrainingJob(card(), "digits", digits.fingerprint, 0, 0.1).key


@pytest.mark.parametrize("value", [-0.1, 0.91, 1, 20, float("nan"), float("inf"), True, "0.1", None, [0.1]])
def test_a_share_to_hold_out_is_a_number_from_0_to_nine_tenths(tmp_path, value):
    with pytest.raises(UsageError, match=r"held_out: must be a number from 0 to 0\.9"):
        rb.train(card(), "digits", run=tmp_path, held_out=value)


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "5", [5]])
def test_a_limit_is_a_whole_number_from_1_on(value):
    for load in (lambda: rb.load_dataset("digits", "test", value), lambda: load_dataset("digits", limit=value)):
        with pytest.raises(UsageError, match=r"limit: must be"):
            load()
    assert len(rb.load_dataset("digits", "test", np.int64(5))) == 5


@pytest.mark.parametrize("value", [0, True, 1.5, "3", 1001])
def test_the_number_of_seeds_to_score_is_a_whole_number(tmp_path, value):
    with pytest.raises(UsageError, match=r"seeds: must be"):
        rb.score(tmp_path / "images.npz", "digits", ["backprop"], tmp_path / "run", seeds=value)


@pytest.mark.parametrize("run", ["", "  ", None, 5, "a\0b"])
def test_a_run_folder_is_a_path(run):
    spec = rb.SweepSpec(datasets=["digits"], models=["frozen"], attacks=["noise"], epsilons=[0.1])
    for call in (
        lambda: rb.train("frozen", "digits", run=run),
        lambda: rb.load_model("frozen", "digits", run=run),
        lambda: rb.sweep(spec, run),
        lambda: rb.open_results(run),
        lambda: rb.score("images.npz", "digits", ["frozen"], run),
    ):
        with pytest.raises(UsageError, match=r"run: must be a path"):
            call()


@pytest.mark.parametrize(
    "call",
    {
        "a name for a list": lambda run: rb.score("images.npz", "digits", "backprop", run),
        "one card for a list": lambda run: Benchmark(run).train("backprop", "digits", [0]),
        "no card": lambda run: rb.train(5, "digits", run=run),
        "a seed for a list": lambda run: Benchmark(run).train(["backprop"], "digits", 0),
        "a text for seeds": lambda run: Benchmark(run).train(["backprop"], "digits", "01"),
        "a table for a sweep": lambda run: rb.sweep({"datasets": ["digits"]}, run),
        "no file": lambda run: rb.score(None, "digits", ["backprop"], run),
        "no images": lambda run: rb.load_adversarial(5),
        "no data set": lambda run: rb.train("backprop", None, run=run),
        "no number for places": lambda run: rb.score("images.npz", "digits", ["backprop"], run, indices=5),
        "lists for places": lambda run: rb.score("images.npz", "digits", ["backprop"], run, indices=[[1]]),
        "texts for places": lambda run: rb.score("images.npz", "digits", ["backprop"], run, indices=["a"]),
        "no workspace": lambda run: rb.Workspace(5),
        "an empty workspace": lambda run: rb.Workspace(""),
        "no progress": lambda run: rb.train("backprop", "digits", run=run, progress=5),
        "no role": lambda run: rb.register_component([], "mine"),
        "no results": lambda run: rb.plot_curves(5),
        "a half for a split": lambda run: rb.load_dataset("digits", 0),
    }.values(),
    ids=lambda call: "",
)
def test_arguments_of_a_wrong_kind_are_a_line(tmp_path, call):
    with pytest.raises(UsageError):
        call(tmp_path / "run")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["meta", "cuda:99", 5])
def test_a_device_is_checked_when_a_model_is_loaded_and_auto_is_one(trained, device):
    workspace = rb.Workspace(trained)
    mine = workspace.models["quick_fa"]
    with pytest.raises(UsageError, match="cannot be used here"):
        rb.load_model(mine, "digits", run=trained / "run", device=device)
    assert rb.load_model(mine, "digits", run=trained / "run", device="auto") is not None


def test_bounds_are_said():
    assert whole("count", 3, least=3, most=3) == 3
    with pytest.raises(UsageError, match=r"^count: must be at least 3 \(got 2\)$"):
        whole("count", 2, least=3)
    with pytest.raises(UsageError, match=r"^count: must be at most 3 \(got 4\)$"):
        whole("count", 4, most=3)
    assert share("part", 1, most=1) == 1.0
