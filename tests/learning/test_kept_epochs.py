"""Weights kept on the way of a training: those of the epoch, to the bit, and the training does not notice."""

from __future__ import annotations

import json

import pytest
import torch

from robustbench_ekdaa.cards import Workspace, after_epoch
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.files import read_tensors
from robustbench_ekdaa.learning import TrainingJob, load_network, train, training
from robustbench_ekdaa.learning.job import checkpoint_path, log_path

from ..support.stopped import StopAfter
from ..support.training_jobs import job

# It has batch normalisation, dropout, a part that is to stay in evaluation mode, and counts its passes in every mode.
MODULE = """
import torch
from torch import nn

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        self.passes += 1
        return images * (1 + 0.01 * torch.sin(self.passes.float()))

class Body(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Flatten(), Counting(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2),
            nn.BatchNorm1d(8).eval(), nn.Linear(8, classes),
        )

    def forward(self, images):
        return self.inner(images)

def make(image_shape, classes):
    return Body(classes)
"""
CARD = """
kind = "model"
name = "counting"
rule = "backprop"
[network]
factory = "counting.py:make"
[training.default]
epochs = 3
batch_size = 64
optimizer = "AdamW"
learning_rate = 3e-3
schedule = "CosineAnnealingLR"
schedule_options = { T_max = 3 }
"""


def of_module(folder):
    (folder / "models").mkdir()
    (folder / "models" / "counting.py").write_text(MODULE)
    (folder / "models" / "counting.toml").write_text(CARD)
    return TrainingJob.on(load_dataset("digits"), Workspace(folder).model("counting"), 0)


def of_blocks(_):
    fields = {"optimizer": "AdamW", "learning_rate": 3e-3, "schedule": "CosineAnnealingLR"}
    return job(load_dataset("digits"), **fields, optimizer_options={}, schedule_options={"T_max": 3})


def tensors(run, work):
    return read_tensors(checkpoint_path(run, work.key)).tensors


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def log_of(run, work):
    lines = [json.loads(line) for line in log_path(run, work.key).read_text().splitlines()]
    return [{**line, "seconds": 0, "images_per_second": 0} for line in lines]


def lasting(facts):
    return {name: fact for name, fact in facts.items() if name not in ("seconds", "digest", "log_digest")}


@pytest.mark.parametrize("make", [of_blocks, of_module])
def test_kept_weights_are_those_of_a_training_that_stops_there_and_the_last_as_if_none_were_kept(
    digits, tmp_path, make
):
    whole = make(tmp_path)
    kept = whole.kept(1)
    assert [one.epochs for one in kept] == [1, 2]
    without, last = train(whole, digits, tmp_path / "without"), train(whole, digits, tmp_path / "with", kept)
    assert same(tensors(tmp_path / "without", whole), tensors(tmp_path / "with", whole))
    assert log_of(tmp_path / "without", whole) == log_of(tmp_path / "with", whole)
    assert lasting(without) == lasting(last)
    for one in kept:
        there = train(one, digits, tmp_path / "with", progress=StopAfter(0))  # no step is taken
        alone = train(one, digits, tmp_path / "alone")
        assert same(tensors(tmp_path / "with", one), tensors(tmp_path / "alone", one))
        assert log_of(tmp_path / "with", one) == log_of(tmp_path / "alone", one)
        assert lasting(there) == lasting(alone)
        assert (there["epochs"], there["model"]) == (one.epochs, f"{whole.card.name}#{one.epochs}")
        loaded = load_network(one, digits, tmp_path / "with")
        assert training.measured_accuracy(loaded, digits.test, torch.device("cpu")) == there["test_accuracy"]
    rates = [line["learning_rate"] for line in log_of(tmp_path / "alone", kept[1])[1:]]
    assert rates == [line["learning_rate"] for line in log_of(tmp_path / "with", whole)[1:3]]
    assert rates[0] > rates[1] > 0


def test_a_stopped_training_with_kept_epochs_goes_on_to_the_same_bits_and_leaves_nothing_over(
    digits, tmp_path, monkeypatch
):
    whole = of_blocks(tmp_path)
    kept = whole.kept(1)
    train(whole, digits, tmp_path / "whole", kept)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        train(whole, digits, tmp_path / "parts", kept, progress=StopAfter(60))  # of 41 an epoch
    assert checkpoint_path(tmp_path / "parts", kept[0].key).exists()
    assert not checkpoint_path(tmp_path / "parts", kept[1].key).exists()
    train(whole, digits, tmp_path / "parts", kept, progress=StopAfter(123))
    for one in (whole, *kept):
        assert same(tensors(tmp_path / "whole", one), tensors(tmp_path / "parts", one))
    assert len(list((tmp_path / "parts" / "checkpoints").iterdir())) == 3


def test_what_a_stopped_training_had_behind_it_is_trained_by_itself(digits, tmp_path, monkeypatch):
    whole = of_blocks(tmp_path)
    kept = whole.kept(1)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        train(whole, digits, tmp_path, progress=StopAfter(60))
    train(whole, digits, tmp_path, kept)
    assert [checkpoint_path(tmp_path, one.key).exists() for one in kept] == [False, True]
    train(kept[0], digits, tmp_path)
    train(kept[0], digits, tmp_path / "alone")
    assert same(tensors(tmp_path, kept[0]), tensors(tmp_path / "alone", kept[0]))


def test_the_key_of_an_epoch_says_the_epoch_and_that_of_the_last_is_the_model_s(digits):
    whole = job(digits)
    keys = [TrainingJob.on(digits, after_epoch(whole.card, epoch), 0).key for epoch in (1, 2, 3)]
    assert keys[2] == TrainingJob.on(digits, whole.card, 0).key
    assert len(set(keys)) == 3
