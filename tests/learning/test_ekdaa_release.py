"""The released EKDAA code's behaviour against a second writing of it, in the release's own layout (NHWC, HWIO)."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from robustbench_ekdaa.cards import BlockSpec, NetworkSpec
from robustbench_ekdaa.learning.alignment import measure_alignment
from robustbench_ekdaa.learning.rules import ekdaa_release
from robustbench_ekdaa.learning.rules.ekdaa_release import EkdaaRelease
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator

# The shape of the release's example: convolutions of which some are pooled, one tanh layer, no biases.
LINEAR = {"layer": "conv", "activation": "identity"}
STACK = NetworkSpec(
    blocks=(
        BlockSpec(width=3, **LINEAR),
        BlockSpec(width=4, pool="max", **LINEAR),
        BlockSpec(width=5, pool="max", **LINEAR),
        BlockSpec(layer="linear", width=7, activation="tanh"),
    ),
    bias=False,
)
BETA, GAMMA = 0.9, 0.1


def bound(rule=None):
    rule = rule or EkdaaRelease(beta=BETA, gamma=GAMMA)
    network = build_network(STACK, (1, 8, 8), 10, keyed_generator(0, "weights")).double()
    rule.bind(network, keyed_generator(0, "feedback"))
    # Kernels that are not the weights' own, so that a mix-up of the two shows.
    with torch.no_grad():
        for kernel in rule.E:
            kernel.add_(0.3 * torch.rand(kernel.shape, generator=keyed_generator(1, "kernels"), dtype=kernel.dtype))
    return rule


def hwio(weight):
    """From this package's layout (out, in, height, width) to the release's (height, width, in, out)."""
    return weight.permute(2, 3, 1, 0)


def oihw(weight):
    return weight.permute(3, 2, 0, 1)


def pooled(signal):
    return functional.max_pool2d(signal, 2)


def over(value, above):
    """Divide by the signed maximum where that exceeds `above`."""
    return value / value.max() if value.max() > above else value


def released(rule, images, labels):
    """One step as the release takes it: h of every layer forwards, targets and errors backwards; returns dW and dE."""
    w = [block.layer.weight.detach() for block in rule.network.block_list]
    kernels = [None, *(kernel.detach() for kernel in rule.E)]
    data = rule.network.normalise(images)
    h1 = functional.conv2d(data, w[0], padding=1)
    h2 = functional.conv2d(h1, w[1], padding=1)  # reads the pre-activation
    p2 = pooled(h2)
    h3 = functional.conv2d(p2, w[2], padding=1)
    p3 = pooled(h3)
    h4 = p3.flatten(1) @ w[3].t()
    z4 = torch.tanh(h4)
    e5 = torch.softmax(z4 @ w[4].t(), 1) - functional.one_hot(labels, 10)
    e4 = z4 - torch.tanh(h4 - BETA * (e5 @ kernels[4]))
    target3 = (p3.flatten(1) - BETA * (e4 @ kernels[3])).reshape(p3.shape)
    target3 = functional.interpolate(target3, scale_factor=2, mode="bilinear", align_corners=False)
    e3 = torch.tanh(h3) - torch.tanh(target3)
    d2 = over(functional.conv_transpose2d(e3, kernels[2], padding=1), 1)
    target2 = functional.interpolate(p2 - BETA * d2, scale_factor=2, mode="bilinear", align_corners=False)
    e2 = torch.tanh(h2) - torch.tanh(target2)
    d1 = over(functional.conv_transpose2d(e2, kernels[1], padding=1), 1)
    e1 = torch.tanh(h1) - torch.tanh(h1 - BETA * d1)
    # dW of a convolution reads z of the layer below: the data, tanh(h1), and the pooled pre-activation.
    filters = []
    for read, error, weight in ((data, e1, w[0]), (torch.tanh(h1), e2, w[1]), (p2, e3, w[2])):
        patches = functional.unfold(read, 3, padding=1)
        total = torch.einsum("nop,ncp->oc", error.flatten(2), patches).reshape(weight.shape)  # sum over the batch
        filters.append(over(total, 1) / weight.shape[0] / weight.shape[1])
    updates = [*filters, e4.t() @ p3.flatten(1), e5.t() @ z4]
    kernel_updates = []
    for update in updates[1:]:
        if update.dim() == 2:
            kernel_updates.append(GAMMA * update)
        else:
            reversed_axes = hwio(update).permute(3, 2, 1, 0)  # what tf.transpose does: (out, in, width, height)
            kernel_updates.append(GAMMA * oihw(reversed_axes.permute(2, 3, 1, 0)))  # and its use as a filter
    return updates, kernel_updates


def step(rule, digits, count=6):
    rule.compute_gradients(digits.train.images[:count].double(), digits.train.labels[:count])
    return [block.layer.weight.grad for block in rule.network.block_list], [kernel.grad for kernel in rule.E]


def agrees(rule, digits):
    wanted, wanted_kernels = released(rule, digits.train.images[:6].double(), digits.train.labels[:6])
    found, found_kernels = step(rule, digits)
    pairs = zip([*found, *found_kernels], [*wanted, *wanted_kernels], strict=True)
    return all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in pairs)


def test_a_step_is_the_released_codes_step(digits):
    assert agrees(bound(), digits)


def test_kernels_start_at_the_weights_with_height_and_width_swapped():
    rule = EkdaaRelease()
    network = build_network(STACK, (1, 8, 8), 10, keyed_generator(0, "weights"))
    rule.bind(network, keyed_generator(0, "feedback"))
    for kernel, block in zip(rule.E, network.block_list[1:], strict=True):
        weight = block.layer.weight.detach().numpy()
        if weight.ndim == 2:
            assert np.array_equal(kernel.detach().numpy(), weight)
            continue
        # tf.transpose without axes reverses (height, width, in, out); the release then uses axes [2, 3, 1, 0] of that.
        reversed_axes = np.transpose(np.transpose(weight, (2, 3, 1, 0)))
        used = np.transpose(reversed_axes, (2, 3, 1, 0))
        assert np.array_equal(kernel.detach().numpy(), np.transpose(used, (3, 2, 0, 1)))
        assert not np.array_equal(kernel.detach().numpy(), weight)


def test_error_maps_of_pooled_layers_do_not_vanish_with_the_output_error(digits):
    rule = bound()
    with torch.no_grad():
        rule.network.block_list[-1].layer.weight.mul_(1e6)
    images = digits.train.images[:6].double()
    labels = rule.network(images).argmax(1)
    rule.compute_gradients(images, labels)
    gradients = [block.layer.weight.grad for block in rule.network.block_list]
    assert float(gradients[-1].abs().max()) < 1e-9
    assert float(gradients[2].abs().max()) > 1e-3


def test_the_log_can_say_how_far_it_is_from_backprop(digits):
    report = measure_alignment(bound(), digits.train.images[:64].double(), digits.train.labels[:64])
    assert all(0 < report[layer]["update_angle"] < 180 for layer in ("conv1", "conv2", "conv3", "linear4"))


def pooling_carries_the_error(monkeypatch):
    monkeypatch.setattr(
        EkdaaRelease,
        "_error_map",
        lambda self, index, d, trace: (
            self.phi_t(trace.preactivation)
            - self.phi_t(trace.preactivation - self.beta * self.network.block_list[index].unpool(d, trace))
        ),
    )


def kernels_not_swapped(monkeypatch):
    monkeypatch.setattr(ekdaa_release, "_swap", lambda kernel: kernel)


def nearest_upsampling(monkeypatch):
    interpolate = functional.interpolate
    monkeypatch.setattr(
        ekdaa_release.functional, "interpolate", lambda signal, size, **_: interpolate(signal, size, mode="nearest")
    )


@pytest.mark.parametrize("mutate", [pooling_carries_the_error, kernels_not_swapped, nearest_upsampling])
def test_a_step_that_is_not_the_released_codes_is_noticed(digits, monkeypatch, mutate):
    wanted = released(bound(), digits.train.images[:6].double(), digits.train.labels[:6])
    rule = bound()
    mutate(monkeypatch)
    found = step(rule, digits)
    same = [torch.allclose(a, b) for one, two in zip(found, wanted, strict=True) for a, b in zip(one, two, strict=True)]
    assert not all(same)


class SignFlipped(EkdaaRelease):
    def _error_map(self, index, d, trace):
        return -super()._error_map(index, d, trace)


class BatchMean(EkdaaRelease):
    def compute_gradients(self, images, labels):
        done = super().compute_gradients(images, labels)
        self.network.block_list[-1].layer.weight.grad.div_(len(images))
        return done


@pytest.mark.parametrize("mutant", [SignFlipped, BatchMean])
def test_a_broken_copy_is_noticed(digits, mutant):
    assert not agrees(bound(mutant(beta=BETA, gamma=GAMMA)), digits)
