"""Deliberately broken copies of each rule; every one is caught by the contract test that is named beside it.

A mutant is a rule with one thing done wrong, by overriding a method, or by exchanging one function of the rule's module
for a wrong one while the contract test runs.
"""

from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from robustbench_ekdaa.learning import backward, rule
from robustbench_ekdaa.learning.contract import run_test
from robustbench_ekdaa.learning.contract.limits import limit
from robustbench_ekdaa.learning.rule import Step, softmax_error
from robustbench_ekdaa.learning.rules import drtp, local_errors, pepita, predictive_coding
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.learning.rules.direct_feedback_alignment import DirectFeedbackAlignment
from robustbench_ekdaa.learning.rules.drtp import DirectRandomTargetProjection
from robustbench_ekdaa.learning.rules.ekdaa import Ekdaa
from robustbench_ekdaa.learning.rules.ekdaa_release import EkdaaRelease
from robustbench_ekdaa.learning.rules.feedback_alignment import FeedbackAlignment
from robustbench_ekdaa.learning.rules.frozen import FrozenConvolutions
from robustbench_ekdaa.learning.rules.kolen_pollack import KolenPollack
from robustbench_ekdaa.learning.rules.local_errors import LocalErrors
from robustbench_ekdaa.learning.rules.pepita import Pepita
from robustbench_ekdaa.learning.rules.predictive_coding import PredictiveCoding
from robustbench_ekdaa.learning.rules.sign_symmetry import SignSymmetry
from robustbench_ekdaa.learning.rules.straight_through import StraightThrough
from robustbench_ekdaa.networks.network import Block

ALL = {
    "backprop": Backprop,
    "dfa": DirectFeedbackAlignment,
    "drtp": DirectRandomTargetProjection,
    "ekdaa": Ekdaa,
    "ekdaa_release": EkdaaRelease,
    "fa": FeedbackAlignment,
    "frozen": FrozenConvolutions,
    "kolen_pollack": KolenPollack,
    "pepita": Pepita,
    "predictive_coding": PredictiveCoding,
    "predsim": LocalErrors,
    "sign_symmetry": SignSymmetry,
    "straight_through": StraightThrough,
}


# -- what can be done wrong in any rule, as a wrapper of its class ---------------------------------------------------


def writes_to_data(parent):
    class WritesToData(parent):
        def compute_gradients(self, images, labels):
            step = super().compute_gradients(images, labels)
            weight = self.network.block_list[0].layer.weight
            weight.data.sub_(1e-6 * torch.ones_like(weight))
            return step

    return WritesToData


def rewrites_weights_after_the_step(parent):
    class Rewrites(parent):
        def after_step(self):
            super().after_step()
            self.network.block_list[-1].layer.weight.data.mul_(0.999)

    return Rewrites


def label_in_the_forward(parent):
    """The network adds a trace of the label to its logits, by a hook that stays."""

    class LabelInTheForward(parent):
        def compute_gradients(self, images, labels):
            readout = self.network.block_list[-1]
            readout._forward_hooks.clear()
            step = super().compute_gradients(images, labels)
            readout.register_forward_hook(lambda _, __, logits: logits + 1e-3 * functional.one_hot(labels, 10))
            return step

    return LabelInTheForward


def label_in_the_logits(parent):
    class LabelInTheLogits(parent):
        def compute_gradients(self, images, labels):
            step = super().compute_gradients(images, labels)
            return Step(step.loss, step.logits + functional.one_hot(labels, 10))

    return LabelInTheLogits


def draws_globally(parent):
    class DrawsGlobally(parent):
        def compute_gradients(self, images, labels):
            step = super().compute_gradients(images, labels)
            bias = self.network.block_list[-1].layer.weight.grad
            bias.add_(1e-3 * torch.randn_like(bias))
            return step

    return DrawsGlobally


def sign_flipped_below_the_readout(parent):
    class SignFlipped(parent):
        def compute_gradients(self, images, labels):
            step = super().compute_gradients(images, labels)
            for block in self.network.block_list[:-1]:
                block.layer.weight.grad.neg_()
            return step

    return SignFlipped


def forgets_its_state(parent):
    class Forgets(parent):
        def load_state_dict(self, state):
            pass

    return Forgets


ANYWHERE = {
    writes_to_data: "no writes",
    rewrites_weights_after_the_step: "no writes",
    label_in_the_forward: "forward untouched",
    label_in_the_logits: "forward untouched",
    draws_globally: "seeded",
}


@pytest.mark.parametrize("mutate", ANYWHERE, ids=lambda mutate: mutate.__name__)
@pytest.mark.parametrize("name", ALL)
def test_what_no_rule_may_do_is_caught_in_every_rule(digits, name, mutate):
    assert run_test(ANYWHERE[mutate], ALL[name], digits).verdict == "passed"
    assert run_test(ANYWHERE[mutate], mutate(ALL[name]), digits).verdict == "failed"


# The released code claims no place where it is backprop: its equations are tested, and broken, in a file of their own.
# The control has no gradients below the readout to flip.
@pytest.mark.parametrize("name", sorted(set(ALL) - {"ekdaa_release", "frozen"}))
def test_a_flipped_sign_is_caught_in_every_rule(digits, name):
    assert run_test("backprop limit", sign_flipped_below_the_readout(ALL[name]), digits).verdict == "failed"


@pytest.mark.parametrize(
    "rule", [Ekdaa, KolenPollack, LocalErrors, EkdaaRelease, lambda: SignSymmetry(magnitudes="brsf")]
)
def test_a_rule_that_forgets_what_it_has_learned_or_drawn_is_caught(digits, rule):
    forgetful = forgets_its_state(rule if isinstance(rule, type) else type(rule()))
    make = forgetful if isinstance(rule, type) else lambda: forgetful(magnitudes="brsf")
    assert run_test("state round trip", make, digits).verdict == "failed"


# -- wrong equations, by exchanging one function ---------------------------------------------------------------------


def wrong_way_through_pooling(monkeypatch):
    """Spread what pooling sends back evenly over the window, whoever was the largest."""

    def spread(self, signal, trace):
        if self.pooling is None:
            return signal.reshape(trace.activation.shape)
        size = (trace.activation.shape[2] - self.pooling.size) // self.pooling.stride + 1
        signal = signal.reshape(*trace.activation.shape[:2], size, size)
        return functional.interpolate(signal, size=trace.activation.shape[2:]) / self.pooling.size**2

    monkeypatch.setattr(Block, "unpool", spread)


def kernel_not_transposed(monkeypatch):
    """Send errors back with the kernel turned by 180 degrees: a convolution in place of its transpose."""
    right = backward.BlockPass.transmit

    def wrong(self, delta, weight):
        return right(self, delta, weight.flip(2, 3) if weight.dim() == 4 else weight)

    monkeypatch.setattr(backward.BlockPass, "transmit", wrong)


def no_derivative(monkeypatch):
    monkeypatch.setattr(
        backward.BlockPass, "through_activation", lambda self, signal: self.block.unpool(signal, self.trace)
    )


def flipped_output_error(monkeypatch):
    for module in (rule, predictive_coding, pepita):
        monkeypatch.setattr(module, "softmax_error", lambda logits, labels: -softmax_error(logits, labels))


def softmax_forgotten(monkeypatch):
    def wrong(logits, labels):
        return logits - functional.one_hot(labels, logits.shape[1])

    for module in (rule, drtp, predictive_coding, local_errors, pepita):
        monkeypatch.setattr(module, "softmax_error", wrong)


EQUATIONS = [
    (FeedbackAlignment, wrong_way_through_pooling),
    (FeedbackAlignment, kernel_not_transposed),
    (FeedbackAlignment, no_derivative),
    (FeedbackAlignment, flipped_output_error),
    (FeedbackAlignment, softmax_forgotten),
    (KolenPollack, wrong_way_through_pooling),
    (KolenPollack, kernel_not_transposed),
    (KolenPollack, no_derivative),
    (SignSymmetry, wrong_way_through_pooling),
    (SignSymmetry, kernel_not_transposed),
    (SignSymmetry, no_derivative),
    (SignSymmetry, softmax_forgotten),
    (DirectFeedbackAlignment, wrong_way_through_pooling),
    (DirectFeedbackAlignment, no_derivative),
    (DirectFeedbackAlignment, flipped_output_error),
    (DirectRandomTargetProjection, wrong_way_through_pooling),
    (DirectRandomTargetProjection, no_derivative),
    (DirectRandomTargetProjection, softmax_forgotten),
    (PredictiveCoding, wrong_way_through_pooling),
    (PredictiveCoding, kernel_not_transposed),
    (PredictiveCoding, no_derivative),
    (PredictiveCoding, flipped_output_error),
    (Ekdaa, wrong_way_through_pooling),
    (Ekdaa, kernel_not_transposed),
    (Ekdaa, flipped_output_error),
    (Ekdaa, softmax_forgotten),
    (LocalErrors, softmax_forgotten),
    (Pepita, flipped_output_error),
    (Pepita, softmax_forgotten),
]


@pytest.mark.parametrize(("kind", "mutate"), EQUATIONS, ids=lambda thing: thing.__name__)
def test_a_wrong_equation_is_caught_by_the_backprop_limit(digits, monkeypatch, kind, mutate):
    mutate(monkeypatch)
    finding = run_test("backprop limit", kind, digits)
    assert finding.verdict == "failed"
    assert "deviates" in finding.found


# -- what is particular to one rule ----------------------------------------------------------------------------------


class FlippedInTheMiddle(DirectFeedbackAlignment):
    """Climbs in the blocks between the first hidden one and the last."""

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for block in self.network.block_list[1:-2]:
            block.layer.weight.grad.neg_()
        return step


class OtherLabel(DirectRandomTargetProjection):
    """Projects the label next to the right one."""

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, (labels + 1) % 10)
        logits, traces = self.network.trace(images)
        backward.correlate(self.network.block_list[-1], traces[-1], softmax_error(logits, labels))
        return Step(functional.cross_entropy(step.logits, labels).detach(), step.logits)


class FollowsTheError(DirectRandomTargetProjection):
    """Is direct feedback alignment by mistake."""

    exemptions: ClassVar = {}

    compute_gradients = DirectFeedbackAlignment.compute_gradients
    signal = DirectFeedbackAlignment.signal


class StopsTooSoon(PredictiveCoding):
    """Never reaches the lowest block of three."""

    def approach_backprop(self):
        agreement = limit(self)
        self.steps -= 2
        return agreement


class StepsTooSmall(PredictiveCoding):
    """Moves beliefs by 0.9 of what it says."""

    def approach_backprop(self):
        agreement = limit(self)
        self.eta = 0.9
        return agreement


class NotDetached(LocalErrors):
    """Lets the readout's loss through to the block below."""

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        first = list(self.network.block_list[0].parameters())
        loss = functional.cross_entropy(self.network(images), labels)
        for parameter, gradient in zip(first, torch.autograd.grad(loss, first), strict=True):
            parameter.grad = parameter.grad + gradient
        return step


class ComparesWithItself(Pepita):
    """Compares the second pass with the second pass: no hidden update is left."""

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for block in self.network.block_list[:-1]:
            block.layer.weight.grad.zero_()
        return step


class MagnitudesWithSigns(SignSymmetry):
    """Forgets abs: signs of its own instead of the weights'."""

    def signal(self, l, error, labels, above, delta):
        return above.transmit(delta, self.M[l])


class AscendsTheReadout(FrozenConvolutions):
    """Climbs the loss."""

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for parameter in self.network.block_list[-1].parameters():
            parameter.grad.neg_()
        return step


class ThawsEverything(FrozenConvolutions):
    """Trains the convolutions that are to stay as they are."""

    compute_gradients = Backprop.compute_gradients


PARTICULAR = [
    (FlippedInTheMiddle, "backprop limit"),
    (AscendsTheReadout, "backprop limit"),
    (ThawsEverything, "backprop limit"),
    (OtherLabel, "backprop limit"),
    (FollowsTheError, "backprop limit"),
    (StopsTooSoon, "backprop limit"),
    (StepsTooSmall, "backprop limit"),
    (NotDetached, "backprop limit"),
    (ComparesWithItself, "backprop limit"),
    (MagnitudesWithSigns, "backprop limit"),
]


@pytest.mark.parametrize(("mutant", "test"), PARTICULAR, ids=lambda thing: getattr(thing, "__name__", thing))
def test_a_rules_own_mistakes_are_caught(digits, mutant, test):
    assert run_test(test, mutant.__mro__[1], digits).verdict == "passed"
    assert run_test(test, mutant, digits).verdict == "failed"


class LearnsNothingBelow(Backprop):
    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for block in self.network.block_list[:-1]:
            for parameter in block.parameters():
                parameter.grad = None
        return step


class CutsTheInputGradient(Backprop):
    """Leaves a network whose logits are right and whose autograd is not their gradient: robust by deceit."""

    def bind(self, network, generator):
        super().bind(network, generator)
        network.block_list[0].layer.register_forward_hook(lambda _, __, h: h.detach() + 0.5 * (h - h.detach()))


class StillMovesWhenRight(Ekdaa):
    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        self.network.block_list[0].layer.weight.grad.add_(1e-3)
        return step


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (LearnsNothingBelow, "beats frozen"),
        (LearnsNothingBelow, "every layer"),
        (CutsTheInputGradient, "input gradients"),
        (StillMovesWhenRight, "zero error"),
        (sign_flipped_below_the_readout(Backprop), "beats frozen"),
        (FrozenConvolutions, "beats frozen"),
    ],
    ids=lambda thing: getattr(thing, "__name__", thing),
)
def test_the_control_itself_and_false_gradients_are_caught(digits, mutant, test):
    class WithoutExcuse(mutant):
        exemptions: ClassVar = {}

    assert run_test(test, WithoutExcuse, digits).verdict == "failed"
