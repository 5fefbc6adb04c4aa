"""What would stop a training at its start, or can never fit, is found out before a run folder is made."""

from __future__ import annotations

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa import Benchmark
from robustbench_ekdaa.cards import ModelCard
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.learning import TrainingJob
from robustbench_ekdaa.learning.checking import least_memory

CARD = """
kind = "model"
name = "mine"
rule = "mine.py:Mine"
[network]
blocks = [{ layer = "linear", width = 8 }]
[training.default]
epochs = 1
learning_rate = 0.1
batch_size = 512
"""
RULE = """
import os, sys
from robustbench_ekdaa import rules
class Mine(rules.LearningRule):
    {body}
"""
BIND = "def bind(self, network, generator): "
STEP = "def compute_gradients(self, images, labels): "


def workspace(folder, body="pass", rule=None, card=CARD) -> rb.Workspace:
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "mine.py").write_text(rule or RULE.format(body=body))
    (folder / "models" / "mine.toml").write_text(card)
    return rb.Workspace(folder)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BIND + "1 / 0", r"mine\.py:Mine fails when it is bound: ZeroDivisionError"),
        (BIND + "sys.exit(3)", r"mine\.py:Mine fails when it is bound: SystemExit: 3"),
        ("def bind(self): pass", r"mine\.py:Mine fails when it is bound: TypeError"),
        ("def __init__(self): sys.exit(0)", r"SystemExit"),
        ("def state_dict(self): return 5", r"its state cannot be saved"),
        ("def state_dict(self): sys.exit(1)", r"its state cannot be saved \(SystemExit: 1"),
        ("exemptions = 5", r"fails when it is bound: TypeError"),
        ("def feedback_parameters(self): sys.exit(1)", r"fails when it is bound: SystemExit: 1"),
    ],
)
def test_a_rule_that_fails_while_it_is_bound_is_one_line_that_names_card_and_rule(tmp_path, body, reason):
    card = workspace(tmp_path, body).models["mine"]
    with pytest.raises(UsageError, match=rf"mine\.toml: rule.*: .*{reason}") as caught:
        rb.train(card, "digits", run=tmp_path / "run", device="cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "rule", ["Mine = 5", "class Mine: pass", "def Mine(): return 5", "raise SystemExit(0)", "import nowhere_at_all"]
)
def test_what_is_no_rule_at_all_is_one_line(tmp_path, rule):
    card = workspace(tmp_path, rule=rule).models["mine"]
    with pytest.raises(UsageError, match=r"mine"):
        rb.train(card, "digits", run=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rule_that_calls_sys_exit_fails_its_own_model_alone(tmp_path, workers):
    cards = workspace(tmp_path, STEP + "sys.exit(0)").models
    benchmark = Benchmark(tmp_path / "run", device="cpu", workers=workers)
    records = benchmark.train([cards["mine"], "frozen"], "digits", [0], keep_going=True)
    assert [record.status for record in records] == ["failed", "trained"]
    assert "SystemExit: 0" in records[0].error


def test_a_rule_that_ends_its_worker_is_named_and_nothing_looks_as_if_it_had_worked(tmp_path):
    card = workspace(tmp_path, STEP + "os._exit(0)").models["mine"]
    with pytest.raises(WorkFailed, match=r"died in the middle of the training of mine on digits, seed 0.*exit code 0"):
        Benchmark(tmp_path / "run", device="cpu", workers=None).train([card], "digits", [0])


def card_of(**changes) -> ModelCard:
    whole = {
        "kind": "model",
        "name": "mine",
        "rule": "backprop",
        "network": {"blocks": [{"layer": "linear", "width": 8}]},
        "training": {"default": {"epochs": 1, "learning_rate": 0.1}},
    }
    return ModelCard.model_validate({**whole, **changes})


WIDE = {"layer": "linear", "width": 1_000_000}
MAPS = {"layer": "conv", "width": 1_000_000, "kernel": 255, "padding": 127}


@pytest.mark.parametrize("blocks", [[WIDE, WIDE], [MAPS, MAPS], [MAPS] * 9])
def test_a_network_beyond_memory_is_refused_with_an_estimate_before_training(tmp_path, blocks):
    with pytest.raises(UsageError, match=r"mine: network: (training takes .* of memory at least|is too large)"):
        rb.train(card_of(network={"blocks": blocks}), "digits", run=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_batches_beyond_memory_are_refused_with_an_estimate_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("robustbench_ekdaa.learning.checking.total_memory", lambda: 1_000_000)
    training = {"default": {"epochs": 1, "learning_rate": 0.1, "batch_size": 1_000_000}}
    maps = [{"layer": "conv", "width": 16}]
    with pytest.raises(UsageError, match=r"takes 5\.2 MiB .* batches of 1,297 images\), and there are 977 KiB"):
        rb.train(card_of(network={"blocks": maps}, training=training), "digits", run=tmp_path / "run", device="cpu")


def test_the_estimate_counts_weights_twice_and_pre_activations_once(digits):
    job = TrainingJob(card_of(), "digits", digits.fingerprint, 0)
    weights, needed = least_memory(job, digits, 100)
    assert weights == 64 * 8 + 8 + 8 * 10 + 10
    assert needed == 4 * (2 * weights + 100 * (8 + 10))


def test_the_estimate_takes_no_memory(digits):
    job = TrainingJob(card_of(network={"blocks": [WIDE, WIDE]}), "digits", digits.fingerprint, 0)
    weights, _ = least_memory(job, digits, 100)
    assert weights > 1e12
    assert torch.empty(0).device.type == "cpu"
