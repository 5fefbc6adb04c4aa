"""Networks: shapes, purity, true gradients, and what autograd is told of signum."""

import math
import pickle
import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from robustbench_ekdaa.cards import BlockSpec, NetworkSpec, read_card
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.networks import ACTIVATIONS, build_network, check_network, signum_backward
from robustbench_ekdaa.randomness import keyed_generator


def make(spec, shape=(1, 8, 8), classes=10, seed=0, **kwargs):
    return build_network(spec, shape, classes, keyed_generator(seed, "weights"), **kwargs)


@pytest.mark.parametrize("preset", ["small_cnn", "lenet", "ekdaa_cnn", "wide_cnn", "mlp"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 40)])
def test_presets_map_any_image_to_one_logit_per_class(preset, shape):
    network = make(NetworkSpec(preset=preset), shape, 7)
    assert network(torch.rand(2, *shape)).shape == (2, 7)


def test_the_ekdaa_cnn_is_the_six_convolution_network_of_the_release():
    network = make(NetworkSpec(preset="ekdaa_cnn"), (3, 32, 32))
    blocks = network.block_list
    assert [block.layer.weight.shape[0] for block in blocks] == [64, 64, 64, 128, 128, 128, 128, 10]
    assert [block.pooling is not None for block in blocks] == [False, True, False, True, False, True, False, False]


def test_forward_equals_the_functional_composition_written_out():
    network = make(NetworkSpec(preset="small_cnn"), statistics=(torch.tensor([0.3]), torch.tensor([0.2])))
    images = torch.rand(5, 1, 8, 8)
    weights = [(block.layer.weight, block.layer.bias) for block in network.block_list]
    signal = (images - 0.3) / 0.2
    for weight, bias in weights[:2]:
        signal = functional.max_pool2d(torch.tanh(functional.conv2d(signal, weight, bias, padding=1)), 2)
    signal = torch.tanh(functional.linear(signal.flatten(1), *weights[2]))
    torch.testing.assert_close(network(images), functional.linear(signal, *weights[3]))


blocks = st.one_of(
    st.builds(
        BlockSpec,
        layer=st.just("conv"),
        width=st.integers(1, 4),
        kernel=st.sampled_from([1, 3, 5]),
        stride=st.integers(1, 2),
        bias=st.sampled_from([None, True, False]),
        activation=st.sampled_from([None, *sorted(ACTIVATIONS)]),
        pool=st.sampled_from(["none", "max", "average"]),
        pool_size=st.integers(1, 3),
        pool_stride=st.sampled_from([None, 1, 2]),
    ),
)


@settings(max_examples=60)
@given(
    convolutions=st.lists(blocks, max_size=3),
    linear=st.lists(st.builds(BlockSpec, layer=st.just("linear"), width=st.integers(1, 5)), max_size=2),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(8, 19), st.integers(8, 19)),
)
def test_trace_says_what_forward_says_and_unpool_is_the_adjoint_of_pooling(convolutions, linear, shape):
    spec = NetworkSpec(blocks=(*convolutions, *linear))
    try:
        check_network(spec, shape, 4)
    except UsageError:
        assume(False)  # the kernels and windows do not fit on such an image
    network = make(spec, shape, 4)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    logits, traces = network.trace(images)
    assert torch.equal(logits, network(images))
    for block, trace in zip(network.block_list, traces, strict=True):
        if block.pooling is None:
            continue
        z = trace.activation.detach().requires_grad_()
        pooled, _ = block.pooling.forward(z)
        signal = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(1))
        (expected,) = torch.autograd.grad(pooled, z, signal)
        torch.testing.assert_close(block.unpool(signal.flatten(1), trace), expected)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_an_activations_derivative_is_autograds(name):
    phi = ACTIVATIONS[name]
    h = torch.linspace(-3, 3, 41, dtype=torch.float64).add(0.01).requires_grad_()
    z = phi.forward(h)
    (expected,) = torch.autograd.grad(z.sum(), h)
    torch.testing.assert_close(phi.derivative(h, z).detach(), expected)


def test_signum_is_exact_forward_in_every_backward_mode_and_its_gradient_is_the_modes():
    h = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    phi = ACTIVATIONS["signum"].forward
    expected = {
        ("zero", 1.0): torch.zeros(5),
        ("straight_through", 1.0): torch.tensor([0.0, 1, 1, 1, 0]),
        ("tanh", 3.0): 3 * (1 - torch.tanh(3 * h.detach()) ** 2),
    }
    for (mode, k), gradient in expected.items():
        with signum_backward(mode, k):
            z = phi(h)
        assert torch.equal(z.detach(), torch.tensor([-1.0, -1, 0, 1, 1]))
        # The mode in force at the forward pass counts, even after the context has ended.
        torch.testing.assert_close(torch.autograd.grad(z.sum(), h)[0], gradient)
    assert torch.equal(torch.autograd.grad(phi(h).sum(), h)[0], torch.zeros(5))


def test_glorot_weights_fill_their_interval_and_a_seed_gives_the_same_bits():
    network, twin, other = (make(NetworkSpec(preset="ekdaa_cnn"), (3, 32, 32), seed=seed) for seed in (0, 0, 1))
    weight = network.block_list[3].layer.weight
    bound = math.sqrt(6 / ((64 + 128) * 9))
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    assert abs(float(weight.detach().std()) / (bound / math.sqrt(3)) - 1) < 0.02
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))
    assert not torch.equal(weight, other.block_list[3].layer.weight)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec(preset="smal_cnn"), "unknown network 'smal_cnn'. Did you mean small_cnn"),
        (NetworkSpec(preset="small_cnn", activation="tanhh"), "block 1: unknown activation 'tanhh'. Did you mean tanh"),
        (
            NetworkSpec(blocks=(BlockSpec(layer="linear", width=3), BlockSpec(layer="conv", width=3))),
            "block 2: a convolution",
        ),
        (
            NetworkSpec(blocks=(BlockSpec(layer="conv", width=3, kernel=9, padding=0),)),
            "a 9x9 kernel does not fit on a 8x8",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused_with_the_block_and_the_reason(spec, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        check_network(spec, (1, 8, 8), 10)


def test_a_network_without_blocks_is_one_linear_layer():
    network = make(NetworkSpec(blocks=()))
    assert network.layer_names == ["readout"]
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 10)


CARD = """kind = "model"
name = "mine"
rule = "backprop"
[network]
preset = "net.py:made"
[training.default]
epochs = 1
learning_rate = 0.1
"""
MADE = "from robustbench_ekdaa.cards import BlockSpec\ndef made():\n    return "


def card_with(folder, code):
    folder.mkdir(exist_ok=True)
    (folder / "mine.toml").write_text(CARD)
    (folder / "net.py").write_text(MADE + code)
    return read_card(folder / "mine.toml")


def test_a_cards_network_is_found_beside_the_card_and_not_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("raise SystemExit")
    card = card_with(tmp_path / "models", '[BlockSpec(layer="linear", width=7)]')
    assert make(card.network).block_list[0].layer.out_features == 7
    assert make(pickle.loads(pickle.dumps(card)).network).block_list[0].layer.out_features == 7  # noqa: S301


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "network: preset net.py:made: made fails: ZeroDivisionError"),
        ("3", "network: preset net.py:made: must return a list of BlockSpec (got 3)"),
        ("[3]", "network: preset net.py:made: must return a list of BlockSpec (got [3])"),
        ('[BlockSpec(layer="linear", width=-7)]', "made: BlockSpec.width: must be greater than 0 (got -7)"),
        ("exit(0)", "network: preset net.py:made: made fails: SystemExit: 0"),
    ],
)
def test_a_network_that_its_file_does_not_make_is_one_clear_line(tmp_path, code, message):
    card = card_with(tmp_path / "models", code)
    with pytest.raises(UsageError) as caught:
        check_network(card.network, (1, 8, 8), 10, card.at("network"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
