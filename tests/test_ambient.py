"""What the caller has set in torch (default type and device, autocast, gradient modes) changes no number here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from robustbench_ekdaa import NETWORKS, RULES
from robustbench_ekdaa.cards import NetworkSpec
from robustbench_ekdaa.data import Dataset, load_dataset
from robustbench_ekdaa.data.loading import _load
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import ImageDraws, keyed_generator


@contextmanager
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


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
    finally:
        _load.cache_clear()
