"""What users are handed is theirs: nothing they do to it reaches what this process keeps, or later results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa import data
from robustbench_ekdaa.data import Dataset, Split
from robustbench_ekdaa.data.loading import _load
from robustbench_ekdaa.registry import DATASETS

from .support.trained_run import write_card


@pytest.mark.parametrize("limit", [None, 10, 10_000])
@pytest.mark.parametrize("half", ["train", "test"])
def test_a_split_can_be_written_to_without_changing_what_is_loaded_next(half, limit):
    before = rb.load_dataset("digits", half, limit)
    images, labels = before.images.clone(), before.labels.clone()
    before.images.mul_(0.5)
    before.labels.zero_()
    before.images.numpy()[:] = 0
    after = rb.load_dataset("digits", half, limit)
    assert torch.equal(after.images, images)
    assert torch.equal(after.labels, labels)


@pytest.mark.parametrize("limit", [None, 10_000])
def test_a_data_set_can_be_written_to_without_changing_what_is_loaded_next(limit):
    mine = data.load_dataset("digits", limit=limit)
    mean = mine.channel_statistics[0].clone()
    for tensor in (mine.train.images, mine.train.labels, mine.test.images, mine.test.labels, *mine.channel_statistics):
        tensor.zero_()
    again = data.load_dataset("digits", limit=limit)
    assert all(bool(tensor.any()) for tensor in (again.train.images, again.train.labels, again.test.images))
    assert torch.equal(again.channel_statistics[0], mean)
    assert torch.equal(mine.channel_statistics[0], mean)  # those it was asked for before


def test_a_registered_function_may_write_to_the_tensors_it_returned():
    images, labels = torch.rand(20, 1, 8, 8), torch.arange(20) % 2
    whole = Dataset("mine", "Mine", Split(images, labels), Split(images, labels), ("a", "b"), "0" * 64)
    rb.register_dataset("forgetful")(lambda: whole)
    try:
        first = rb.load_dataset("forgetful").images
        images.zero_()
        assert torch.equal(rb.load_dataset("forgetful").images, first)
    finally:
        DATASETS._registered.pop("forgetful")
        _load.cache_clear()


def sweep(folder: Path) -> rb.Results:
    write_card(folder, "quick", "frozen", epochs=1)
    spec = rb.SweepSpec(datasets=["digits"], models=["quick"], attacks=["noise"], epsilons=[0.1], images=50, seeds=1)
    return rb.sweep(spec, folder / "run", workspace=rb.Workspace(folder), device="cpu")


def test_a_sweep_is_not_touched_by_what_was_done_to_a_data_set_before(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "models").mkdir(parents=True)
    clean = sweep(tmp_path / "a").frame()["clean_accuracy"]
    rb.load_dataset("digits", "test").images.mul_(0.1)
    rb.load_dataset("digits", "train").labels.zero_()
    assert sweep(tmp_path / "b").frame()["clean_accuracy"].equals(clean)


def test_the_arrays_of_results_cannot_be_written_to(tmp_path):
    (tmp_path / "models").mkdir()
    one = sweep(tmp_path).on("digits")
    arrays = [one.labels, one.images, *one.clean.values()]
    arrays += [*(cell.predictions for cell in one.cells), *(example.images for example in one.examples)]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[:] = np.zeros_like(array)
