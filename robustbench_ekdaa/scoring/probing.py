"""What a model itself says about how far attacks on it can be trusted: measured on a small sample of images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..cards import AttackCard, Component
from ..computing import ordinary_torch
from ..crafting import Crafted, Pool, craft
from ..crafting.surrogates import differ
from ..data import Dataset
from ..learning.external.checks import slope_error

PROBING_VERSION = 1  # raise it when a change here gives other facts
SAMPLE = 200  # images
SLOPES = 16  # of them, that gradients are compared with finite differences on
NEIGHBOURS = 2_000  # training images among which the nearest one to a test image is looked for
CERTAIN = 2.0**-24  # 1 - p below this is 0 in float32
SPREAD = 3.0  # of rescaled logits over the classes: that of healthy models, at which cross-entropy is at its best

Facts = dict[str, float]


@dataclass(frozen=True)
class ProbeSpec:
    """What every model is probed with.

    Attributes:
        attack: a gradient attack on one surrogate.
        epsilon: where its steps and its loss are varied.
        largest: where the model should fall.
        seed: keys the random draws.
    """

    attack: AttackCard
    epsilon: float
    largest: float
    seed: int

    def facts(self) -> dict[str, Any]:
        """Return all that decides what is found, as plain data."""
        about = {"version": PROBING_VERSION, "epsilon": self.epsilon, "largest": self.largest, "seed": self.seed}
        return {**about, "attack": self.attack.identity()}


@ordinary_torch(gradients=True)
def probe_model(network: nn.Module, images: Tensor, labels: Tensor, indices: Sequence[int], spec: ProbeSpec) -> Facts:
    """Return what a sample of images says about attacks on a model.

    Args:
        network: in evaluation mode.
        images: float32 (n, C, H, W) in [0, 1], on its device.
        labels: int64 (n,).
        indices: the images' positions in the test split.
        spec: what to probe with.

    Returns:
        shares of the n "images", but for "slope_error" and "slope_tolerance" (relative errors of gradients) and
        "epsilon" and "largest": "clean", "attacked", "at_largest", "noise" (right when clean, under the attack, under
        it at the largest epsilon, under noise), "doubled" and "scale_free" (right under the attack with twice its
        steps, with a loss free of scale) and with "_changed" behind their names, how many are otherwise than under the
        attack; "certain" (right with 1 - p = 0 in float32), "flat" (without any gradient), "unsteady" (answered in two
        ways).
    """
    pool = Pool(images, labels)

    def crafted(card: AttackCard, epsilon: float, surrogate: nn.Module = network) -> Crafted:
        options: Any = {"seed": spec.seed, "indices": indices, "pool": pool}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of networks that answer in two ways: that is measured
            (one,) = craft(card, [surrogate] if card.uses_surrogate else [], images, labels, [epsilon], **options)
        return one

    def right(shown: Tensor) -> Tensor:
        return _ask(network, shown).argmax(1) == labels

    logits, attack = _ask(network, images), spec.attack
    found = crafted(attack, spec.epsilon)
    attacked = right(found.images)
    facts = {
        "images": float(len(images)),
        "epsilon": spec.epsilon,
        "largest": spec.largest,
        "clean": _share(logits.argmax(1) == labels),
        "attacked": _share(attacked),
        "at_largest": _share(right(crafted(attack, spec.largest).images)),
        "noise": _share(right(crafted(noise_card(attack.norm), spec.epsilon).images)),
        "certain": _certain(logits, labels),
        "flat": _share(found.zero_gradient),
        "unsteady": _unsteady(network, images, found.images, logits),
    }
    others: dict[str, tuple[AttackCard, nn.Module]] = {"scale_free": (attack, _Rescaled(network, logits))}
    if attack.steps > 1:
        others["doubled"] = attack.model_copy(update={"steps": 2 * attack.steps}), network
    for name, (card, surrogate) in others.items():
        kept = right(crafted(card, spec.epsilon, surrogate).images)
        facts |= {name: _share(kept), f"{name}_changed": _share(kept != attacked)}
    error, facts["slope_tolerance"] = slope_error(network, images[:SLOPES])
    facts["slope_error"] = 1.0 if error is None else error
    return facts


def noise_card(norm: str) -> AttackCard:
    """Return uniform noise of a norm, which needs no surrogate."""
    facts = {"kind": "attack", "name": "noise", "norm": norm, "steps": 0, "start": Component(component="uniform")}
    return AttackCard.model_validate(facts)


class _Rescaled(nn.Module):
    """A network whose logits have one spread, whatever their scale: no loss underflows, and no decision changes."""

    def __init__(self, network: nn.Module, logits: Tensor) -> None:
        super().__init__()
        self.network = network
        self.factor = SPREAD / float(logits.double().std(1).median().clamp_min(1e-30))

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(images) * self.factor
        return answer


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _ask(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        answer: Tensor = network(images.clone())
    return answer


def _certain(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images that are right, and with a probability of 1 in float32."""
    others = logits.double().softmax(1).scatter(1, labels[:, None], 0.0).sum(1)
    return float(((logits.argmax(1) == labels) & (others < CERTAIN)).double().mean())


def _unsteady(network: nn.Module, images: Tensor, attacked: Tensor, logits: Tensor) -> float:
    """Return the share of images, clean or attacked, that are answered otherwise when asked again."""
    first = _ask(network, attacked)
    pairs = [(logits, _ask(network, images)), (first, _ask(network, attacked))]
    rows = [differ(one[i : i + 1], other[i : i + 1]) for one, other in pairs for i in range(len(images))]
    return sum(rows) / max(len(rows), 1)


def probe_data(dataset: Dataset, indices: Tensor) -> Facts:
    """Return how the test images of a sweep relate to the training images.

    Returns:
        "shared": the share of the test images that stand among the training images too; "nearest": on a sample, how
        often the nearest training image has the same label; "nearest_images": of how many.
    """
    train, test = dataset.train, dataset.test
    known = {image.numpy().tobytes() for image in train.images}
    shared = sum(test.images[index].numpy().tobytes() in known for index in indices)
    sample, near = indices[:SAMPLE], train.images[:NEIGHBOURS].flatten(1)
    closest = torch.cdist(test.images[sample].flatten(1), near).argmin(1)
    nearest = (train.labels[:NEIGHBOURS][closest] == test.labels[sample]).double().mean()
    return {"shared": shared / len(indices), "nearest": float(nearest), "nearest_images": float(len(sample))}
