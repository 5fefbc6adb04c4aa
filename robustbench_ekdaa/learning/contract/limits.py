"""Where theory says that a rule's gradients are backprop's, for the built-in rules.

A rule of one's own says it by its method `approach_backprop`.
"""

from __future__ import annotations

from functools import singledispatch

import torch

from ..backward import forward_pass, keep_slopes
from ..rule import Agreement, LearningRule
from ..rules.backprop import Backprop
from ..rules.direct_feedback_alignment import DirectFeedbackAlignment
from ..rules.drtp import DirectRandomTargetProjection
from ..rules.ekdaa import Ekdaa
from ..rules.feedback_alignment import FeedbackAlignment
from ..rules.frozen import FrozenConvolutions
from ..rules.local_errors import LocalErrors
from ..rules.pepita import Pepita
from ..rules.predictive_coding import PredictiveCoding
from ..rules.sign_symmetry import SignSymmetry
from ..rules.straight_through import StraightThrough

NO_LIMIT = "the rule claims no place where its gradients are backprop's"


def approach_backprop(rule: LearningRule) -> Agreement | None:
    """Move a bound rule, its options and its network to where theory says that its gradients are backprop's.

    Returns how near they must be, or None if there is no such place for this rule on this network.
    """
    with torch.no_grad():
        return rule.approach_backprop() if _says_so_itself(type(rule)) else limit(rule)


def declared_exemptions(rule: LearningRule | type[LearningRule]) -> dict[str, str]:
    """Return the contract tests that a rule says do not hold for it, by name, with its reasons."""
    kind = rule if isinstance(rule, type) else type(rule)
    silent = not _says_so_itself(kind) and limit.dispatch(kind) is limit.dispatch(LearningRule)
    declared = {**({"backprop limit": NO_LIMIT} if silent else {}), **rule.exemptions}
    return {str(test): str(reason) for test, reason in declared.items()}


def _says_so_itself(kind: type[LearningRule]) -> bool:
    return kind.approach_backprop is not LearningRule.approach_backprop


@singledispatch
def limit(rule: LearningRule) -> Agreement | None:
    """`approach_backprop` of a built-in rule."""
    return None


@limit.register
def _(rule: Backprop) -> Agreement:
    """It is backprop everywhere."""
    return Agreement(deviation=1e-12)


@limit.register
def _(rule: StraightThrough) -> Agreement:
    """With no stand-in the rule is backprop; so it is wherever every activation has a derivative."""
    rule.stand_in = "zero"
    return Agreement(deviation=1e-12)


@limit.register
def _(rule: FrozenConvolutions) -> Agreement:
    """Everywhere the readout's gradients are backprop's, and nothing else gets any."""
    return Agreement(deviation=1e-12, readout_alone=True)


@limit.register
def _(rule: FeedbackAlignment) -> Agreement:
    """With B = W the rule is backprop."""
    for feedback, block in zip(rule.B, rule.network.block_list[1:], strict=True):
        feedback.copy_(block.layer.weight)
    return Agreement(deviation=1e-12)


@limit.register
def _(rule: SignSymmetry) -> Agreement:
    """With weights whose magnitudes are abs(M), B = W and the rule is backprop."""
    for index, feedback in rule.feedback_weights().items():
        rule.network.block_list[index].layer.weight.copy_(feedback)
    return Agreement(deviation=1e-12)


@limit.register
def _(rule: DirectFeedbackAlignment) -> Agreement | None:
    """Where block l's output becomes the logits by a linear map, and B_l is that map, the rule is backprop.

    With one hidden block B_1 = W_2. With more, phi becomes linear as the weights between vanish, if it has no kink
    at 0 and no pool above block 1 picks different maxima for different images.
    """
    network = rule.network
    between = network.block_list[1:-1]
    for block in between:
        picks = block.pooling is not None and block.pooling.kind == "max"
        if picks or block.activation_name in ("relu", "leaky_relu"):
            return None
        block.layer.weight.mul_(1e-6)
        if block.layer.bias is not None:
            block.layer.bias.zero_()
    # Backprop's sweep on blank images, the k-th of which is told e = onehot(k): what arrives is B_l's k-th row.
    classes = network.block_list[-1].layer.weight.shape[0]
    logits, passes = forward_pass(network, network.mean.expand(classes, *network.image_shape), keep_slopes)
    delta = torch.eye(classes, dtype=logits.dtype, device=logits.device)
    for index in range(len(rule.B), 0, -1):
        arrived = passes[index].transmit(delta, passes[index].weight)
        rule.B[index - 1].copy_(arrived.flatten(1))
        delta = passes[index - 1].through_activation(arrived)
    return Agreement(deviation=1e-5 if between else 1e-12)


@limit.register
def _(rule: DirectRandomTargetProjection) -> Agreement | None:
    """With one hidden block, a vanishing readout without class means, and B_1 = -W_2, the rule tends to backprop.

    The probabilities are then 1/K, and W_2^T (1/K - onehot(y)) = -W_2^T onehot(y).
    """
    readout = rule.network.block_list[-1].layer
    if len(rule.B) > 1:
        return None
    readout.weight.sub_(readout.weight.mean(0)).mul_(1e-7)
    if readout.bias is not None:
        readout.bias.zero_()
    for feedback in rule.B:
        feedback.copy_(-readout.weight)
    return Agreement(deviation=1e-5)


@limit.register
def _(rule: Ekdaa) -> Agreement | None:
    """With E = W and a vanishing beta the directions tend to backprop's: e_l = beta phi'(h_l) d_l + O(beta^2).

    The curvature of phi costs about beta; rounding costs 1e-16 over what is left of the error below k hidden layers,
    about beta^k. The deeper the network, the larger the beta at which both are small.
    """
    if not all(block.phi.differentiable for block in rule.network.block_list):
        return None
    rule.beta, rule.target_activation = 1e-14 ** (1 / len(rule.network.block_list)), None
    for kernel, block in zip(rule.E, rule.network.block_list[1:], strict=True):
        kernel.copy_(block.layer.weight)
    return Agreement(deviation=1e-2, up_to_scale=True)


@limit.register
def _(rule: PredictiveCoding) -> Agreement:
    """With eta = 1 and as many steps as blocks the rule is backprop."""
    rule.eta, rule.steps = 1.0, len(rule.network.block_list)
    return Agreement(deviation=1e-12)


@limit.register
def _(rule: LocalErrors) -> Agreement | None:
    """With one hidden block, beta = 0 and A_1 = W_2 the rule is backprop."""
    readout = rule.network.block_list[-1].layer
    if len(rule.heads) > 1:
        return None
    for head in rule.heads:
        if head.classifier.shape != readout.weight.shape:
            return None
        head.classifier.copy_(readout.weight)
        if readout.bias is not None:
            head.offset.copy_(readout.bias)
    rule.beta = 0.0
    return Agreement(deviation=1e-12)


@limit.register
def _(rule: Pepita) -> Agreement | None:
    """With a vanishing F that W_1 turns into -W_2^T, the rule's directions tend to backprop's.

    Then z_1 - zbar_1 = -phi' W_1 F e = c phi' W_2^T e to first order. That takes a linear W_1 of full row rank.
    """
    *hidden, readout = rule.network.block_list
    if not hidden:
        rule.F.zero_()
        return Agreement(deviation=1e-12)
    first = hidden[0].layer.weight
    if first.shape[0] > first.shape[1] or not hidden[0].phi.differentiable:
        return None
    rule.F.copy_(-1e-6 * readout.layer.weight @ torch.linalg.pinv(first).t())
    return Agreement(deviation=1e-4, up_to_scale=True)
