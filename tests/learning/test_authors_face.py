"""What authors of rules are given: one module, and a base that does all but the equations."""

import pytest
import torch

from robustbench_ekdaa import rules
from robustbench_ekdaa.cards import BlockSpec, NetworkSpec
from robustbench_ekdaa.learning.contract import run_test
from robustbench_ekdaa.learning.contract.bench import BENCH_NETWORKS, PLAIN_RECIPE, bind, fresh_network, train_briefly
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.learning.rules.direct_feedback_alignment import DirectFeedbackAlignment
from robustbench_ekdaa.randomness import keyed_generator

POOLED = BENCH_NETWORKS["two pooled convolutions"]
FLAT = NetworkSpec(blocks=(BlockSpec(layer="linear", width=20), BlockSpec(layer="linear", width=12)))


class Direct(rules.HiddenErrorRule):
    def create_feedback(self, network, generator):
        self.B = rules.random_projections(network, generator)

    def signal(self, l, error, labels, above, delta):
        return error @ self.B[l]


def gradients(make, spec, digits, count=16):
    rule = bind(make, spec, digits, dtype=torch.float32)
    rule.compute_gradients(digits.train.images[:count], digits.train.labels[:count])
    return [parameter.grad for parameter in rule.network.parameters()]


def test_every_name_of_the_face_is_there_and_documented():
    for name in rules.__all__:
        assert getattr(getattr(rules, name), "__doc__", None), name


@pytest.mark.parametrize("name", sorted(set(BENCH_NETWORKS) - {"signum"}))
def test_a_rule_of_six_lines_is_direct_feedback_alignment_to_the_bit(digits, name):
    pairs = zip(
        gradients(Direct, BENCH_NETWORKS[name], digits),
        gradients(DirectFeedbackAlignment, BENCH_NETWORKS[name], digits),
        strict=True,
    )
    assert all(torch.equal(mine, builtin) for mine, builtin in pairs)


def test_a_rule_of_six_lines_keeps_the_promises_that_it_does_not_except_itself_from(digits):
    for test in ("any network", "forward untouched", "no writes", "zero error", "seeded", "state round trip"):
        assert run_test(test, Direct, digits).verdict == "passed", test


def test_signal_is_given_the_block_above_and_the_error_at_its_h(digits):
    """With them backprop can be written out by hand, without `transmit`."""

    class ByHand(rules.HiddenErrorRule):
        def signal(self, l, error, labels, above, delta):
            seen.append((l, tuple(delta.shape), above.layer.weight is self.network.block_list[l + 1].layer.weight))
            return delta @ above.layer.weight

    seen = []
    for mine, true in zip(gradients(ByHand, FLAT, digits), gradients(Backprop, FLAT, digits), strict=True):
        torch.testing.assert_close(mine, true)
    assert seen == [(1, (16, 10), True), (0, (16, 12), True)]


def test_an_error_that_is_changed_on_its_way_leaves_the_layers_own_gradient_alone(digits):
    """`transmit` computes both in one call, but only of the sweep's own error."""

    class Doubled(rules.HiddenErrorRule):
        def signal(self, l, error, labels, above, delta):
            return above.transmit(2 * delta, above.weight)

    true = gradients(Backprop, POOLED, digits)
    factors = [8, 8, 4, 4, 2, 2, 1, 1]  # weight and bias of each block, from the first
    for mine, reference, factor in zip(gradients(Doubled, POOLED, digits), true, factors, strict=True):
        torch.testing.assert_close(mine, factor * reference, rtol=1e-4, atol=1e-6)


def test_two_errors_may_be_sent_through_one_block(digits):
    class Twice(rules.HiddenErrorRule):
        def signal(self, l, error, labels, above, delta):
            return (above.transmit(delta, above.weight) + above.transmit(delta, above.weight)) / 2

    for mine, true in zip(gradients(Twice, POOLED, digits), gradients(Backprop, POOLED, digits), strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-6)


class Keeper(Direct):
    """Keeps tensors wherever an attribute can hold them."""

    def create_feedback(self, network, generator):
        super().create_feedback(network, generator)
        self.generator = generator
        self.alone = torch.zeros(3)
        self.by_name = {"a": torch.zeros(2), "b": [torch.zeros(1)]}
        self.module = torch.nn.Linear(2, 2)
        self.learned = torch.nn.Parameter(torch.zeros(4))
        self.blocks = network.block_list  # the network's own: neither saved nor learned twice
        self.first = network.block_list[0].layer.weight
        self.count = 0

    def after_step(self):
        self.count += 1
        self.late = torch.full((self.count,), 7.0)  # made while training


def test_tensors_are_saved_and_loaded_wherever_a_rule_keeps_them(digits):
    rule = bind(Keeper, FLAT, digits, dtype=torch.float32)
    rule.after_step()
    state = {name: tensor.clone() for name, tensor in rule.state_dict().items()}
    nested = {"B.0", "B.1", "by_name.a", "by_name.b.0", "module.bias", "module.weight"}
    assert set(state) == nested | {"alone", "generator", "late", "learned"}
    expected = torch.rand(3, generator=rule.generator)
    other = bind(Keeper, FLAT, digits, seed=1, dtype=torch.float32)
    other.load_state_dict(state)
    assert torch.equal(torch.rand(3, generator=other.generator), expected)
    for name, tensor in other.state_dict().items():
        assert name == "generator" or torch.equal(tensor, state[name]), name


def test_the_optimiser_learns_a_rules_parameters_and_nothing_of_the_network_twice(digits):
    rule = bind(Keeper, FLAT, digits, dtype=torch.float32)
    learned = {id(parameter) for parameter in rule.feedback_parameters()}
    assert learned == {id(rule.learned), id(rule.module.weight), id(rule.module.bias)}
    train_briefly(rule, digits, PLAIN_RECIPE, steps=2)  # torch refuses a parameter that is in two groups


def test_the_state_of_another_rule_is_refused_by_name(digits):
    rule = bind(Direct, FLAT, digits, dtype=torch.float32)
    with pytest.raises(rules.UsageError, match=r"a Direct has no B\.0 of shape \(2, 2\)"):
        rule.load_state_dict({"B.0": torch.zeros(2, 2)})


def test_random_projections_lead_from_the_classes_to_each_hidden_output(digits):
    network = fresh_network(POOLED, digits)
    shapes = [tuple(B.shape) for B in rules.random_projections(network, keyed_generator(0, "feedback"))]
    assert shapes == [(10, 4 * 4 * 4), (10, 6 * 2 * 2), (10, 16)]
