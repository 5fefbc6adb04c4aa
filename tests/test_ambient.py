"""What the caller has set in torch (default type and device, autocast, gradient modes) changes no number here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import ModelCard, NetworkSpec
from robustbench_ekdaa.data import Dataset, load_dataset
from robustbench_ekdaa.data.loading import _load
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.files import read_tensors
from robustbench_ekdaa.learning.contract import RuleFinding, run_test
from robustbench_ekdaa.learning.job import checkpoint_path
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import ImageDraws, keyed_generator
from robustbench_ekdaa.registry import NETWORKS, RULES
from robustbench_ekdaa.scoring.jobs import predict

from .support.torch_settings import default_device, default_dtype

AMBIENTS: dict[str, Callable[[], object]] = {
    "default type float64": default_dtype,
    "default device meta": default_device,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
}


@pytest.fixture(params=AMBIENTS)
def ambient(request) -> Callable[[], object]:
    return AMBIENTS[request.param]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("preset", NETWORKS.names())
def test_a_network_starts_with_the_same_bits_whatever_torch_was_told_before(ambient, preset):
    def weights() -> dict[str, torch.Tensor]:
        return build_network(NetworkSpec(preset=preset), (1, 16, 16), 10, keyed_generator(0, "weights")).state_dict()

    usual = weights()
    with ambient():
        assert same(usual, weights())


@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_draws_the_same_feedback_whatever_torch_was_told_before(ambient, name):
    def feedback() -> dict[str, torch.Tensor]:
        specs = NetworkSpec(preset="lenet"), NetworkSpec(blocks=({"layer": "linear", "width": 12},))
        for spec in specs:  # the second for PEPITA
            rule = RULES.get(name)()
            network = build_network(spec, (1, 16, 16), 10, keyed_generator(0, "weights"))
            try:
                rule.bind(network, keyed_generator(0, "feedback"))
            except UsageError:
                continue
            return {**rule.state_dict(), **{str(key): value for key, value in rule.feedback_weights().items()}}
        raise AssertionError(f"{name} takes neither network")

    usual = feedback()
    with ambient():
        assert same(usual, feedback())


def test_an_attack_draws_the_same_numbers_whatever_torch_was_told_before(ambient):
    def numbers() -> dict[str, torch.Tensor]:
        draws, like = ImageDraws(0, "pgd", [3, 7]), torch.zeros(1, dtype=torch.float32, device="cpu")
        return {kind: getattr(draws, kind)("start", (2, 2), like=like) for kind in ("uniform", "normal")}

    usual = numbers()
    with ambient():
        assert same(usual, numbers())


def test_a_data_set_is_read_to_the_same_bits_whatever_torch_was_told_before(ambient, digits):
    _load.cache_clear()
    try:
        with ambient():
            read: Dataset = load_dataset("digits")
            statistics = read.channel_statistics
        assert read.fingerprint == digits.fingerprint
        assert same(
            {"train": read.train.images, "test": read.test.images},
            {"train": digits.train.images, "test": digits.test.images},
        )
        assert all(map(torch.equal, statistics, digits.channel_statistics))
        assert not any(tensor.is_inference() for tensor in (read.train.images, read.test.labels, *statistics))
    finally:
        _load.cache_clear()


def quick_card(rule: str) -> ModelCard:
    return ModelCard(
        kind="model",
        name=f"quick-{rule}",
        rule=rule,
        network=NetworkSpec(blocks=({"layer": "conv", "width": 4, "pool": "max"}, {"layer": "linear", "width": 12})),
        training={"default": {"epochs": 2, "batch_size": 128, "learning_rate": 0.05, "optimizer": "AdamW"}},
    )


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("usual")
    for rule in ("backprop", "predsim"):
        rb.train(quick_card(rule), "digits", run=run, device="cpu")
    return run


@pytest.mark.parametrize("rule", ["backprop", "predsim"])
def test_training_gives_the_same_bits_and_figures_whatever_torch_was_told_before(ambient, usual, tmp_path, rule):
    with ambient():
        record = rb.train(quick_card(rule), "digits", run=tmp_path, device="cpu")
    ours, usual_one = (read_tensors(checkpoint_path(run, record.key)) for run in (tmp_path, usual))
    assert same(ours.tensors, usual_one.tensors)
    for facts in (ours.facts, usual_one.facts):
        for timed in ("seconds", "log_digest", "digest"):  # the log tells seconds, too
            del facts[timed]
    assert ours.facts == usual_one.facts


def test_a_model_that_was_loaded_under_any_setting_can_be_attacked_and_trained_on(ambient, usual, digits):
    with ambient():
        model = rb.load_model(quick_card("backprop"), "digits", run=usual)
    images, labels = digits.test.images[:8], digits.test.labels[:8]
    assert rb.craft("fgsm", model, images, labels, [0.1]).shape == (1, *images.shape)
    model(images).sum().backward()
    assert same(model.state_dict(), rb.load_model(quick_card("backprop"), "digits", run=usual).state_dict())


class Brighter(torch.nn.Module):
    """Says which of two pixels is the brighter one."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ torch.eye(2, dtype=torch.float32, device="cpu")


def test_scoring_gives_the_same_predictions_whatever_torch_was_told_before(ambient):
    nearly_equal = torch.tensor([[[[0.5, 0.5001]]], [[[0.5001, 0.5]]]], dtype=torch.float32)  # equal in bfloat16
    with ambient():
        assert predict(Brighter(), nearly_equal).tolist() == [1, 0]


@pytest.fixture(scope="module")
def usual_finding(digits) -> RuleFinding:
    return run_test("backprop limit", RULES.get("frozen"), digits)


def test_the_contract_is_tested_the_same_way_whatever_torch_was_told_before(ambient, digits, usual_finding):
    with ambient():
        assert run_test("backprop limit", RULES.get("frozen"), digits) == usual_finding
