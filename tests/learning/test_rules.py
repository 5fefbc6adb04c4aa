"""Learning rules against autograd, hand-computed numbers, and finite differences."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_ekdaa.cards import BlockSpec, NetworkSpec, Recipe
from robustbench_ekdaa.learning.alignment import angle, measure_alignment, true_gradients
from robustbench_ekdaa.learning.contract.limits import approach_backprop
from robustbench_ekdaa.learning.contract.promises import deviation
from robustbench_ekdaa.learning.optimisers import make_optimiser
from robustbench_ekdaa.learning.rule import softmax_error
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.learning.rules.ekdaa import Ekdaa
from robustbench_ekdaa.learning.rules.frozen import FrozenConvolutions
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator

RULES = [Backprop, Ekdaa, FrozenConvolutions]
NETWORKS = {
    "pooled": NetworkSpec(preset="small_cnn"),
    "average pooling, 5x5": NetworkSpec(preset="lenet"),
    "strided, no pooling, no bias": NetworkSpec(
        blocks=(BlockSpec(layer="conv", width=4, stride=2), BlockSpec(layer="conv", width=5, kernel=5)), bias=False
    ),
    "overlapping pooling": NetworkSpec(
        blocks=(BlockSpec(layer="conv", width=4, pool="max", pool_size=3, pool_stride=2),)
    ),
    "relu": NetworkSpec(preset="small_cnn", activation="relu"),
    "one linear layer": NetworkSpec(blocks=()),
    "linear only": NetworkSpec(blocks=(BlockSpec(layer="linear", width=20), BlockSpec(layer="linear", width=12))),
}


def bound(rule, spec, seed=0, dtype=torch.float64):
    network = build_network(spec, (1, 8, 8), 10, keyed_generator(seed, "weights")).to(dtype)
    rule.bind(network, keyed_generator(seed, "feedback"))
    return network


def batch(digits, count=12, dtype=torch.float64):
    return digits.train.images[:count].to(dtype), digits.train.labels[:count]


def updates(network):
    return [block.layer.weight.grad.clone() for block in network.block_list]


@pytest.mark.parametrize("network_name", NETWORKS)
def test_ekdaa_with_symmetric_kernels_tends_to_backprop_as_beta_vanishes(digits, network_name):
    # beta = 1e-3 in float64: the first-order term is right to O(beta), rounding is 1e-16 / 1e-3.
    rule = Ekdaa(beta=1e-3, gamma=1.0, error_kernels="transpose")
    network = bound(rule, NETWORKS[network_name])
    images, labels = batch(digits)
    truth = true_gradients(network, images, labels)
    rule.compute_gradients(images, labels)
    for update, gradient in zip(updates(network), truth, strict=True):
        # Not torch.cosine_similarity: it floors the norms at 1e-8, above the first layer's beta**3.
        assert math.cos(math.radians(angle(update, gradient))) > 0.999


def whole_map_ekdaa(network, kernels, images, labels, *, beta, target):
    """EKDAA by its equations on whole maps, every way back by autograd: dW of each layer, from the first."""
    z, blocks = network.normalise(images), network.block_list
    inputs, preactivations = [], []
    for block in blocks:
        inputs.append(z)
        preactivations.append(block.layer(z if block.is_convolution else z.flatten(1)))
        z = block.phi.forward(preactivations[-1])
        z = z if block.pooling is None else block.pooling.forward(z)[0]
    error, found = softmax_error(z, labels), []
    for index in reversed(range(len(blocks))):
        block = blocks[index]
        read = inputs[index] if block.is_convolution else inputs[index].flatten(1)
        layer = copy.deepcopy(block.layer).requires_grad_(True)
        found.insert(0, torch.autograd.grad(layer(read), layer.weight, error)[0] / len(images))
        if index == 0:
            break
        below, carrier = blocks[index - 1], copy.deepcopy(block.layer)
        carrier.weight.data = kernels[index - 1]
        activity = below.phi.forward(preactivations[index - 1]).requires_grad_(True)
        pooled = activity if below.pooling is None else below.pooling.forward(activity)[0]
        d = torch.autograd.grad(carrier(pooled if block.is_convolution else pooled.flatten(1)), activity, error)[0]
        h = preactivations[index - 1]
        error = target(below, h) - target(below, h - beta * d)
    return found


@pytest.mark.parametrize("target", [None, "tanh"])
@pytest.mark.parametrize("network_name", NETWORKS)
def test_ekdaa_which_forms_targets_at_maxima_alone_equals_its_equations_on_whole_maps(digits, network_name, target):
    rule = Ekdaa(beta=0.9, error_kernels="random", target_activation=target)
    network = bound(rule, NETWORKS[network_name])
    with torch.no_grad():
        for kernel in rule.E:
            kernel.mul_(5)  # so that targets are far away and overlapping errors do not just add up
    images, labels = batch(digits)
    phi_t = (lambda block, h: torch.tanh(h)) if target else (lambda block, h: block.phi.forward(h))
    kernels = [kernel.detach() for kernel in rule.E]
    with torch.no_grad():
        rule.compute_gradients(images, labels)
    network.requires_grad_(False)
    for update, wanted in zip(
        updates(network), whole_map_ekdaa(network, kernels, images, labels, beta=0.9, target=phi_t), strict=True
    ):
        torch.testing.assert_close(update, wanted, rtol=1e-10, atol=1e-13)


def test_the_hidden_errors_shrink_by_beta_per_layer(digits):
    images, labels = batch(digits)
    norms = {}
    for beta in (1e-3, 2e-3):
        rule = Ekdaa(beta=beta, error_kernels="transpose")
        network = bound(rule, NETWORKS["linear only"])
        rule.compute_gradients(images, labels)
        norms[beta] = [float(update.norm()) for update in updates(network)]
    ratios = [two / one for one, two in zip(norms[1e-3], norms[2e-3], strict=True)]
    assert ratios == pytest.approx([4, 2, 1], rel=1e-2)


@pytest.mark.parametrize("rule_type", RULES)
def test_the_readouts_update_is_its_true_gradient_under_every_rule(digits, rule_type):
    rule = rule_type()
    network = bound(rule, NETWORKS["pooled"])
    images, labels = batch(digits)
    truth = true_gradients(network, images, labels)
    rule.compute_gradients(images, labels)
    readout = network.block_list[-1].layer
    torch.testing.assert_close(readout.weight.grad, truth[-1])
    torch.testing.assert_close(readout.bias.grad, softmax_error(network(images), labels).detach().mean(0))


@pytest.mark.parametrize("target_activation", [None, "tanh"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "signum"])
def test_zero_output_error_gives_exactly_zero_updates(digits, activation, target_activation):
    rule = Ekdaa(target_activation=target_activation)
    network = bound(rule, NetworkSpec(preset="small_cnn", activation=activation), dtype=torch.float32)
    images, labels = batch(digits, dtype=torch.float32)
    # Logits so far apart that softmax is exactly one-hot: the output error is exactly zero, nothing is replaced.
    with torch.no_grad():
        network.block_list[-1].layer.weight.zero_()
        network.block_list[-1].layer.bias.zero_()
        network.block_list[-1].layer.bias[3] = 1e4
    assert torch.count_nonzero(softmax_error(network(images).detach(), torch.full_like(labels, 3))) == 0
    rule.compute_gradients(images, torch.full_like(labels, 3))
    for parameter in (*network.parameters(), *rule.feedback_parameters()):
        assert torch.count_nonzero(parameter.grad) == 0


def test_a_hand_computed_two_layer_example():
    """x -> W1 -> tanh -> W2 -> softmax with one hidden unit and two classes, every number written out."""
    rule = Ekdaa(beta=0.9, gamma=0.5)
    network = build_network(
        NetworkSpec(blocks=(BlockSpec(layer="linear", width=1),)),
        (1, 1, 1),
        2,
        keyed_generator(0, "weights"),
        (torch.zeros(1), torch.ones(1)),
    ).double()
    rule.bind(network, keyed_generator(0, "feedback"))
    hidden, readout = (block.layer for block in network.block_list)
    with torch.no_grad():
        hidden.weight.fill_(2.0)
        hidden.bias.fill_(-0.5)
        readout.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        rule.E[0].copy_(torch.tensor([[0.3], [0.7]]))
    rule.compute_gradients(torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([1]))
    # h = 2 * 0.5 - 0.5 = 0.5, z = tanh 0.5 = 0.46211716, logits (z, -z), p_0 = 1 / (1 + exp(-2 z)) = 0.71590409
    # e_2 = (0.71590409, -0.71590409), d_1 = (0.3 - 0.7) * 0.71590409 = -0.28636164
    # t = tanh(0.5 + 0.9 * 0.28636164) = tanh 0.75772547 = 0.63973526
    # e_1 = z - t = -0.17761811
    z, p, error = 0.46211716, 0.71590409, -0.17761811
    assert readout.weight.grad.flatten().tolist() == pytest.approx([p * z, -p * z], abs=1e-6)
    assert readout.bias.grad.tolist() == pytest.approx([p, -p], abs=1e-6)
    assert hidden.weight.grad.item() == pytest.approx(error * 0.5, abs=1e-6)
    assert hidden.bias.grad.item() == pytest.approx(error, abs=1e-6)
    assert rule.E[0].grad.flatten().tolist() == pytest.approx([0.5 * p * z, -0.5 * p * z], abs=1e-6)


def test_signum_without_a_smooth_target_moves_only_units_that_would_flip(digits):
    images, labels = batch(digits)
    rule = Ekdaa(beta=0.9)
    network = bound(rule, NetworkSpec(blocks=(BlockSpec(layer="linear", width=30),), activation="signum"))
    rule.compute_gradients(images, labels)
    _, traces = network.trace(images)
    h = traces[0].preactivation
    sent = softmax_error(network(images), labels) @ rule.E[0]
    flips = torch.sign(h) != torch.sign(h - 0.9 * sent)
    error = (torch.sign(h) - torch.sign(h - 0.9 * sent)).detach()
    assert 0 < flips.double().mean() < 0.2
    torch.testing.assert_close(network.block_list[0].layer.bias.grad, error.mean(0))


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    beta=st.floats(0.01, 2),
    gamma=st.floats(0, 2),
    count=st.integers(1, 9),
    normalise=st.booleans(),
)
def test_ekdaa_updates_are_batch_means_of_single_image_updates(digits, name, beta, gamma, count, normalise):
    rule = Ekdaa(beta=beta, gamma=gamma, normalise_errors=normalise)
    network = bound(rule, NETWORKS[name])
    images, labels = batch(digits, count)
    parameters = [*network.parameters(), *rule.feedback_parameters()]
    rule.compute_gradients(images, labels)
    together = [parameter.grad.clone() for parameter in parameters]
    alone = []
    for index in range(count):
        rule.compute_gradients(images[index : index + 1], labels[index : index + 1])
        alone.append([parameter.grad.clone() for parameter in parameters])
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.stack(parts).mean(0))


def test_normalised_error_maps_never_exceed_one(digits):
    images, labels = batch(digits)
    rule = Ekdaa(beta=50.0, normalise_errors=True)
    network = bound(rule, NetworkSpec(blocks=(BlockSpec(layer="linear", width=9, activation="identity"),)))
    with torch.no_grad():
        rule.E[0].mul_(100)
    rule.compute_gradients(images[:1], labels[:1])
    assert network.block_list[0].layer.bias.grad.abs().max() == pytest.approx(1.0)


@pytest.mark.parametrize("rule_type", RULES)
def test_a_rule_touches_neither_weights_nor_forward_pass(digits, rule_type):
    rule = rule_type()
    network = bound(rule, NETWORKS["pooled"])
    images, labels = batch(digits)
    before, logits = copy.deepcopy(network.state_dict()), network(images).detach()
    step = rule.compute_gradients(images, labels)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert torch.equal(step.logits, logits)
    torch.testing.assert_close(step.loss, torch.nn.functional.cross_entropy(logits, labels))
    assert not step.loss.requires_grad


def test_state_dict_keys_are_the_same_under_every_rule():
    keys = [list(bound(rule(), NETWORKS["pooled"]).state_dict()) for rule in RULES]
    assert keys[0] == keys[1] == keys[2]


def test_error_kernels_start_random_by_default_and_copy_the_weights_on_request():
    rule = Ekdaa()
    network = bound(rule, NETWORKS["pooled"])
    assert rule.feedback_weights().keys() == {1, 2, 3}
    for index, kernel in rule.feedback_weights().items():
        assert abs(angle(kernel, network.block_list[index].layer.weight) - 90) < 10
    rule = Ekdaa(error_kernels="transpose")
    network = bound(rule, NETWORKS["pooled"])
    for index, kernel in rule.feedback_weights().items():
        assert torch.equal(kernel, network.block_list[index].layer.weight)
        assert kernel.data_ptr() != network.block_list[index].layer.weight.data_ptr()


def test_backprops_angles_are_zero_and_a_frozen_layer_has_none(digits):
    images, labels = batch(digits)
    rule = Backprop()
    bound(rule, NETWORKS["pooled"])
    report = measure_alignment(rule, images, labels)
    assert [layer["update_angle"] for layer in report.values()] == pytest.approx([0] * 4, abs=1e-4)
    assert [layer["update_norm_ratio"] for layer in report.values()] == pytest.approx([1] * 4)
    frozen = FrozenConvolutions()
    network = bound(frozen, NETWORKS["pooled"])
    report = measure_alignment(frozen, images, labels)
    assert [layer["update_angle"] is None for layer in report.values()] == [True, True, True, False]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_angles_have_their_closed_form():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert angle(x, y) == pytest.approx(45)
    assert angle(x, -x) == pytest.approx(180)
    assert angle(x, torch.zeros(2)) is None


def test_error_kernels_decay_as_the_weights_do_unless_told_otherwise():
    recipe = Recipe(epochs=1, learning_rate=0.1, optimizer_options={"weight_decay": 0.5})
    for options, decays in (({}, [0.5, 0.5]), ({"feedback_decay": 0.0}, [0.5, 0.0])):
        rule = Ekdaa(**options)
        bound(rule, NETWORKS["pooled"])
        assert [group["weight_decay"] for group in make_optimiser(recipe, rule, "").param_groups] == decays


@pytest.mark.parametrize("activation", ["tanh", "elu"])
def test_ekdaa_tends_to_backprop_in_six_hidden_layers_too(digits, activation):
    layers = tuple(BlockSpec(layer="linear", width=16) for _ in range(6))
    rule = Ekdaa()
    network = bound(rule, NetworkSpec(blocks=layers, activation=activation))
    agreement = approach_backprop(rule)
    images, labels = batch(digits)
    truth = true_gradients(network, images, labels)
    rule.compute_gradients(images, labels)
    for update, gradient in zip(updates(network), truth, strict=True):
        assert deviation(update, gradient, up_to_scale=True) < agreement.deviation
