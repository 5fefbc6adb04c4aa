"""Each rule against its equations, written a second time and in another way."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from robustbench_ekdaa.cards import BlockSpec, NetworkSpec, Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning import TrainingJob
from robustbench_ekdaa.learning.checking import check_job
from robustbench_ekdaa.learning.rule import softmax_error
from robustbench_ekdaa.learning.rules.direct_feedback_alignment import DirectFeedbackAlignment
from robustbench_ekdaa.learning.rules.drtp import DirectRandomTargetProjection
from robustbench_ekdaa.learning.rules.feedback_alignment import FeedbackAlignment
from robustbench_ekdaa.learning.rules.kolen_pollack import KolenPollack
from robustbench_ekdaa.learning.rules.local_errors import LocalErrors, similarities
from robustbench_ekdaa.learning.rules.pepita import Pepita
from robustbench_ekdaa.learning.rules.predictive_coding import PredictiveCoding
from robustbench_ekdaa.learning.rules.sign_symmetry import SignSymmetry
from robustbench_ekdaa.learning.rules.straight_through import StraightThrough
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator

POOLED = NetworkSpec(
    blocks=(
        BlockSpec(layer="conv", width=4, pool="max"),
        BlockSpec(layer="conv", width=6, pool="average"),
        BlockSpec(layer="linear", width=9),
    )
)
SHALLOW = NetworkSpec(blocks=(BlockSpec(layer="linear", width=11),))


def bound(rule, spec=POOLED, seed=0):
    network = build_network(spec, (1, 8, 8), 10, keyed_generator(seed, "weights")).double()
    rule.bind(network, keyed_generator(seed, "feedback"))
    return network


def batch(digits, count=7):
    return digits.train.images[:count].double(), digits.train.labels[:count]


def updates(rule, images, labels):
    rule.compute_gradients(images, labels)
    return [parameter.grad.clone() for parameter in rule.network.parameters()]


def assert_all_close(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


class Through(torch.autograd.Function):
    """A layer whose weight works forwards and whose feedback works backwards: the usual code of feedback alignment."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, feedback):
        ctx.save_for_backward(inputs, feedback)
        if weight.dim() == 4:
            return functional.conv2d(inputs, weight, bias, padding=1)
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx, error):
        inputs, feedback = ctx.saved_tensors
        if feedback.dim() == 4:
            sent = functional.conv_transpose2d(error, feedback, padding=1)
            patches = functional.unfold(inputs, 3, padding=1)  # (N, C k k, places)
            weight = torch.einsum("nop,ncp->oc", error.flatten(2), patches).reshape(feedback.shape)
            return sent, weight, error.sum((0, 2, 3)), None
        return error @ feedback, error.t() @ inputs, error.sum(0), None


def gradients_through(network, feedback, images, labels):
    """All gradients of the mean cross-entropy, with the layers above replaced by `Through`."""
    signal = network.normalise(images)
    for index, block in enumerate(network.block_list):
        if not block.is_convolution:
            signal = signal.flatten(1)
        weight = block.layer.weight
        signal = Through.apply(signal, weight, block.layer.bias, feedback[index - 1] if index else weight.detach())
        signal = block.phi.forward(signal)
        if block.pooling is not None:
            pool = functional.max_pool2d if block.pooling.kind == "max" else functional.avg_pool2d
            signal = pool(signal, block.pooling.size)
    return torch.autograd.grad(functional.cross_entropy(signal, labels), list(network.parameters()))


@pytest.mark.parametrize("rule", [FeedbackAlignment(), KolenPollack(), SignSymmetry(), SignSymmetry(magnitudes="brsf")])
def test_random_feedback_gives_what_autograd_gives_through_layers_with_a_backward_of_their_own(digits, rule):
    network = bound(rule)
    images, labels = batch(digits)
    feedback = [rule.feedback_weights()[index] for index in (1, 2, 3)]
    assert_all_close(updates(rule, images, labels), gradients_through(network, feedback, images, labels))


def test_kolen_pollack_feedback_gets_the_weights_own_update(digits):
    rule = KolenPollack()
    network = bound(rule)
    rule.compute_gradients(*batch(digits))
    for feedback, block in zip(rule.feedback_parameters(), network.block_list[1:], strict=True):
        assert torch.equal(feedback.grad, block.layer.weight.grad)
        assert feedback.grad.data_ptr() != block.layer.weight.grad.data_ptr()


def test_kolen_pollack_brings_feedback_and_weights_together_by_exactly_the_decay(digits):
    # W and B get the same update, so W - B shrinks by (1 - eta lambda) a step, whatever the images.
    rule = KolenPollack()
    network = bound(rule)
    apart = [w.layer.weight - b for w, b in zip(network.block_list[1:], rule.feedback_parameters(), strict=True)]
    apart = [difference.detach().clone() for difference in apart]
    optimiser = torch.optim.SGD([*network.parameters(), *rule.feedback_parameters()], lr=0.1, weight_decay=0.5)
    for _ in range(8):
        rule.compute_gradients(*batch(digits))
        optimiser.step()
    for start, block, feedback in zip(apart, network.block_list[1:], rule.feedback_parameters(), strict=True):
        torch.testing.assert_close((block.layer.weight - feedback).detach(), start * (1 - 0.1 * 0.5) ** 8)


@pytest.mark.parametrize("magnitudes", ["usf", "brsf", "frsf"])
def test_sign_symmetric_feedback_has_the_weights_signs_at_every_moment(digits, magnitudes):
    rule = SignSymmetry(magnitudes=magnitudes)
    network = bound(rule)
    for _ in range(2):
        for index, feedback in rule.feedback_weights().items():
            assert torch.equal(feedback.sign(), network.block_list[index].layer.weight.sign())
        with torch.no_grad():
            network.block_list[2].layer.weight.neg_()


def test_the_three_sign_symmetries_differ_in_their_magnitudes_alone():
    def magnitudes(name):
        rule = SignSymmetry(magnitudes=name)
        bound(rule)
        before = [feedback.abs() for feedback in rule.feedback_weights().values()]
        rule.after_step()
        return before, [feedback.abs() for feedback in rule.feedback_weights().values()]

    uniform, again = magnitudes("usf")
    for feedback, other, fans in zip(uniform, again, (9 * (4 + 6), 6 * 4 + 9, 9 + 10), strict=True):
        torch.testing.assert_close(feedback, torch.full_like(feedback, math.sqrt(2 / fans)), rtol=1e-6, atol=0)
        assert torch.equal(feedback, other)
    fixed, again = magnitudes("frsf")
    assert all(torch.equal(*pair) for pair in zip(fixed, again, strict=True))
    redrawn, again = magnitudes("brsf")
    assert not any(torch.equal(*pair) for pair in zip(redrawn, again, strict=True))
    # Glorot uniform on [-b, b] has E M^2 = b^2 / 3, which is s^2: errors keep their size under all three.
    for feedback, reference in zip(redrawn, uniform, strict=True):
        assert float((feedback**2).mean().sqrt()) == pytest.approx(float(reference.flatten()[0]), rel=0.15)


@pytest.mark.parametrize("rule", [DirectFeedbackAlignment(), DirectRandomTargetProjection()])
def test_a_direct_rule_moves_each_block_along_the_gradient_of_its_output_times_the_signal(digits, rule):
    """Autograd through one block alone, its input detached, of its output's inner product with B_l e (or B_l y)."""
    network = bound(rule)
    images, labels = batch(digits)
    found = updates(rule, images, labels)
    if isinstance(rule, DirectFeedbackAlignment):
        source = softmax_error(network(images), labels).detach()
    else:
        source = functional.one_hot(labels, 10).double()
    wanted, signal = [], network.normalise(images)
    for block, matrix in zip(network.block_list, rule.B, strict=False):
        output = block(signal.detach())
        inner = (output.flatten(1) * (source @ matrix)).sum() / len(labels)
        wanted.extend(torch.autograd.grad(inner, list(block.parameters())))
        signal = output
    readout = network.block_list[-1]
    loss = functional.cross_entropy(readout(signal.detach()), labels)
    wanted.extend(torch.autograd.grad(loss, list(readout.parameters())))
    assert_all_close(found, wanted)


@pytest.mark.parametrize(("eta", "steps"), [(0.1, 20), (0.5, 6), (1.0, 4), (1.0, 9), (0.3, 1), (0.7, 2)])
def test_relaxed_prediction_errors_are_backprops_times_a_binomial_tail(digits, eta, steps):
    rule = PredictiveCoding(eta=eta, steps=steps)
    network = bound(rule)
    images, labels = batch(digits)
    found = updates(rule, images, labels)
    true = torch.autograd.grad(functional.cross_entropy(network(images), labels), list(network.parameters()))
    for index, (update, gradient) in enumerate(zip(found, true, strict=True)):
        below = 3 - index // 2  # blocks between this one and the logits
        tail = sum(math.comb(steps, hits) * eta**hits * (1 - eta) ** (steps - hits) for hits in range(below, steps + 1))
        torch.testing.assert_close(update, tail * gradient, rtol=1e-9, atol=1e-15)


def test_similarities_are_pearson_correlations_and_those_of_maps_see_only_channel_deviations():
    features = torch.rand((5, 8), generator=keyed_generator(0, "features"), dtype=torch.float64)
    np.testing.assert_allclose(similarities(features).numpy(), np.corrcoef(features.numpy()), atol=1e-6)
    maps = torch.rand((5, 6, 3, 4), generator=keyed_generator(0, "maps"), dtype=torch.float64)
    deviations = maps.numpy().reshape(5, 6, 12).std(axis=2, ddof=1)
    np.testing.assert_allclose(similarities(maps).numpy(), np.corrcoef(deviations), atol=1e-6)
    few = maps[:, :2]
    np.testing.assert_allclose(similarities(few).numpy(), np.corrcoef(few.numpy().reshape(5, -1)), atol=1e-6)


def test_one_hot_labels_are_similar_by_one_or_minus_one_over_the_other_classes():
    wanted = similarities(functional.one_hot(torch.tensor([3, 3, 7]), 10).double())
    ninth = -1 / 9
    torch.testing.assert_close(
        wanted, torch.tensor([[1, 1, ninth], [1, 1, ninth], [ninth, ninth, 1]], dtype=torch.float64), atol=1e-7, rtol=0
    )


def local_loss(rule, index, images, labels):
    """The predsim loss of one block, from the paper's formula."""
    network, head = rule.network, rule.heads[index]
    signal = network.normalise(images)
    for block in network.block_list[: index + 1]:
        signal = block(signal)
    logits = signal.flatten(1) @ head.classifier.t() + head.offset
    if signal.dim() == 4:
        features = functional.conv2d(signal, head.mapping, padding=1).flatten(2).std(2)
    else:
        features = signal @ head.mapping.t()
    found, wanted = (np.corrcoef(values) for values in (features.numpy(), np.eye(10)[labels.numpy()]))
    similarity = ((found - wanted) ** 2).mean()
    return (1 - rule.beta) * float(functional.cross_entropy(logits, labels)) + rule.beta * similarity


@pytest.mark.parametrize("index", [0, 1, 2])
def test_local_updates_are_the_slopes_of_the_papers_local_loss(digits, index):
    rule = LocalErrors(beta=0.7)
    network = bound(rule)
    images, labels = batch(digits, 12)
    with torch.no_grad():
        for head in rule.heads:
            head.classifier.normal_(generator=keyed_generator(0, "classifier")).mul_(0.1)
    rule.compute_gradients(images, labels)
    layer, head, step = network.block_list[index].layer, rule.heads[index], 1e-5
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias, head.mapping, head.classifier, head.offset):
            for place in (0, parameter.numel() // 2, parameter.numel() - 1):
                slopes = []
                for sign in (1, -1):
                    parameter.view(-1)[place] += sign * step
                    slopes.append(sign * local_loss(rule, index, images, labels))
                    parameter.view(-1)[place] -= sign * step
                found = float(parameter.grad.flatten()[place])
                assert sum(slopes) / (2 * step) == pytest.approx(found, rel=1e-3, abs=1e-7)


def test_nothing_above_a_block_has_a_say_in_its_local_update(digits):
    rule = LocalErrors()
    network = bound(rule)
    images, labels = batch(digits)
    before = updates(rule, images, labels)
    with torch.no_grad():
        for block in network.block_list[1:]:
            block.layer.weight.neg_()
    after = updates(rule, images, labels)
    assert all(torch.equal(one, other) for one, other in zip(before[:2], after[:2], strict=True))
    assert not torch.equal(before[2], after[2])


def test_a_local_classifier_reads_no_more_than_it_is_allowed(digits):
    rule = LocalErrors(classifier_inputs=40)
    bound(rule)
    assert [head.classifier.shape[1] for head in rule.heads] == [4 * 3 * 3, 6 * 2 * 2, 9]
    rule.compute_gradients(*batch(digits))


def test_local_parameters_start_at_zero_for_the_classifier_and_leave_the_network_alone():
    rule = LocalErrors()
    network = bound(rule)
    assert all(not head.classifier.any() and not head.offset.any() and head.mapping.any() for head in rule.heads)
    assert len(rule.feedback_parameters()) == 9
    assert len(list(network.parameters())) == 8


def test_pepitas_hidden_update_is_to_first_order_feedback_alignment_through_its_own_weights(digits):
    """z - zbar = -phi'(h) W_1 F e + O(F^2): a random feedback that changes as W_1 does (Srinivasan et al. 2023)."""
    rule = Pepita(scale=1e-6)
    network = bound(rule, SHALLOW)
    images, labels = batch(digits)
    found = updates(rule, images, labels)
    x = network.normalise(images).flatten(1)
    hidden = network.block_list[0].layer
    z = torch.tanh(x @ hidden.weight.t() + hidden.bias)
    error = softmax_error(network(images), labels)
    delta = -(1 - z**2) * (error @ rule.F @ hidden.weight.t())
    torch.testing.assert_close(found[0], delta.t() @ x / len(x), rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(found[1], delta.mean(0), rtol=1e-4, atol=1e-12)


def test_pepita_correlates_with_the_modulated_input_and_the_second_pass(digits):
    rule = Pepita(scale=2.0)
    network = bound(rule, SHALLOW)
    images, labels = batch(digits)
    found = updates(rule, images, labels)
    (first, _), (second, _) = (
        (layer.weight.detach(), layer.bias.detach()) for layer in (b.layer for b in network.block_list)
    )
    x = network.normalise(images).flatten(1)
    error = softmax_error(network(images), labels).detach()
    modulated = x + error @ rule.F
    z, zbar = torch.tanh(x @ first.t()), torch.tanh(modulated @ first.t())  # biases are zero at the start
    assert float((z - zbar).abs().max()) > 0.1
    torch.testing.assert_close(found[0], (z - zbar).t() @ modulated / len(x))
    torch.testing.assert_close(found[2], error.t() @ zbar / len(x))
    assert second.shape == found[2].shape


def test_pepita_is_refused_on_a_deep_network_before_training_with_card_and_reason(digits):
    workspace = Workspace()
    deep = workspace.models["pepita"].model_copy(update={"network": workspace.models["fa"].network})
    with pytest.raises(UsageError) as caught:
        check_job(TrainingJob(deep, "digits", digits.fingerprint, 0), digits)
    assert str(caught.value).endswith(
        "models/pepita.toml: network: PEPITA is defined for at most one hidden layer, fully connected, but the network "
        "has conv1, conv2, linear3. Give it one linear block, as the card pepita has."
    )


@pytest.mark.parametrize("rule", [FeedbackAlignment, KolenPollack, SignSymmetry, LocalErrors, PredictiveCoding])
def test_a_rule_that_needs_a_derivative_refuses_signum_and_names_the_layer(rule):
    with pytest.raises(UsageError, match="conv1 is activated by signum, whose derivative is zero"):
        bound(rule(), POOLED.model_copy(update={"activation": "signum"}))


@pytest.mark.parametrize(("stand_in", "k"), [("straight_through", 1.0), ("tanh", 2.0)])
def test_straight_through_puts_its_stand_in_where_signum_has_no_derivative(digits, stand_in, k):
    rule = StraightThrough(stand_in=stand_in, k=k)
    network = bound(rule, SHALLOW.model_copy(update={"activation": "signum"}))
    images, labels = batch(digits)
    found = updates(rule, images, labels)
    x = network.normalise(images).flatten(1)
    hidden, readout = (block.layer for block in network.block_list)
    h = x @ hidden.weight.t() + hidden.bias
    slope = (h.abs() <= 1).double() if stand_in == "straight_through" else k * (1 - torch.tanh(k * h) ** 2)
    delta = (softmax_error(network(images), labels) @ readout.weight) * slope
    torch.testing.assert_close(found[0], (delta.t() @ x / len(x)).detach())
    assert torch.equal(network(images), readout(torch.sign(h)))


@pytest.mark.parametrize("name", Workspace().models.names())
def test_every_card_can_be_trained_and_has_its_recipes(digits, name):
    card = Workspace().models[name]
    recipes = {dataset: card.recipe(dataset) for dataset in ("digits", "fashion_mnist", "cifar10", "svhn")}
    assert "not tuned" in recipes["svhn"].notes
    assert recipes["svhn"].model_copy(update={"notes": ""}) == recipes["cifar10"].model_copy(update={"notes": ""})
    check_job(TrainingJob(card, "digits", digits.fingerprint, 0), digits)
