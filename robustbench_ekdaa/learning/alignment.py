"""How near a rule is to backprop: angles and norm ratios per layer, measured on one probe batch."""

from __future__ import annotations

import math
from typing import TypedDict

from torch import Tensor

from ..computing import ordinary_torch
from ..networks import Network
from .rule import LearningRule, cross_entropy


class LayerAlignment(TypedDict):
    """One layer's figures; None where they are not defined (a zero update, no feedback)."""

    update_angle: float | None
    update_norm_ratio: float | None
    feedback_angle: float | None
    feedback_norm_ratio: float | None


def angle(a: Tensor, b: Tensor) -> float | None:
    """Return the angle between two tensors of one shape in degrees, [0, 180]; None if either is zero."""
    a, b = a.detach().double().flatten(), b.detach().double().flatten()
    norms = float(a.norm()) * float(b.norm())
    if norms == 0 or not math.isfinite(norms):
        return None
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b) / norms))))


def norm_ratio(a: Tensor, b: Tensor) -> float | None:
    """Return the l2 norm of `a` over that of `b`; None if `b` is zero or either is not finite."""
    above, below = float(a.detach().double().norm()), float(b.detach().double().norm())
    return above / below if below > 0 and math.isfinite(above) and math.isfinite(below) else None


def true_gradients(network: Network, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Return each layer's weight gradient of the mean cross-entropy, by autograd."""
    network.zero_grad(set_to_none=True)
    cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
    gradients = [block.layer.weight.grad for block in network.block_list]
    network.zero_grad(set_to_none=True)
    return [gradient for gradient in gradients if gradient is not None]


@ordinary_torch(gradients=True)
def measure_alignment(rule: LearningRule, images: Tensor, labels: Tensor) -> dict[str, LayerAlignment]:
    """Compare, layer by layer, the rule's update with the true gradient and its feedback with the weights.

    Nothing is measured on a network without blocks. Leaves no gradient behind. Angles are in degrees: 0 is backprop's
    direction, 90 is unrelated.
    """
    network = rule.network
    if not network.block_list:  # only rules that follow the true gradient train such a network
        return {}
    truth = true_gradients(network, images, labels)
    rule.compute_gradients(images, labels)
    updates = [block.layer.weight.grad for block in network.block_list]
    feedback = rule.feedback_weights()
    report: dict[str, LayerAlignment] = {}
    for index, name in enumerate(network.layer_names):
        update, weight = updates[index], network.block_list[index].layer.weight
        back = feedback.get(index)
        report[name] = {
            "update_angle": None if update is None else angle(update, truth[index]),
            "update_norm_ratio": None if update is None else norm_ratio(update, truth[index]),
            "feedback_angle": None if back is None else angle(back, weight),
            "feedback_norm_ratio": None if back is None else norm_ratio(back, weight),
        }
    network.zero_grad(set_to_none=True)
    for parameter in rule.feedback_parameters():
        parameter.grad = None
    return report
