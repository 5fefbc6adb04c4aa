"""The loop that all gradient attacks share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..cards import AttackCard
from ..errors import UsageError
from ..randomness import ImageDraws
from .moment import Gradient, Moment, Reach, State
from .recipe import Recipe, build_recipe
from .surrogates import Surrogate, borrowed


@dataclass(frozen=True)
class Crafted:
    """The adversarial images of one batch at one epsilon.

    Attributes:
        epsilon: the radius, in pixels of [0, 1].
        images: float32 (N, C, H, W) in [0, 1], within epsilon of the clean ones.
        zero_gradient: bool (N,): whether every gradient the attack saw of an image was exactly zero, so that it had
            nothing to follow; that the image fooled nobody then says nothing about anybody's robustness.
    """

    epsilon: float
    images: Tensor
    zero_gradient: Tensor


def craft(
    attack: AttackCard,
    surrogates: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    seed: int = 0,
    indices: Sequence[int] | None = None,
) -> Iterator[Crafted]:
    """Craft adversarial images, one batch per epsilon, in order and one at a time, so that memory stays the same.

    Arguments are checked at once; the surrogates are borrowed (evaluation mode, frozen) only while a batch is made.

    Args:
        attack: the attack's card.
        surrogates: networks from float32 images (N, C, H, W) in [0, 1] to logits (N, K); none for noise.
        images: float32 (N, C, H, W) in [0, 1], on the surrogates' device.
        labels: int64 (N,) in [0, K): the true classes.
        epsilons: radii of the attack's norm, in pixels of [0, 1]; 0 returns the images exactly.
        seed: keys all random numbers, together with the attack's name and the image indices.
        indices: the images' positions in their data set (default: 0 to N - 1).

    Raises:
        UsageError: for arguments that do not fit each other or the card.
        WorkFailed: when a surrogate answers NaN or infinity.
    """
    positions = list(range(len(images))) if indices is None else [int(index) for index in indices]
    check_arguments(attack, surrogates, images, labels, epsilons, positions)
    recipe = build_recipe(attack)
    draws = ImageDraws(seed, attack.name, positions)
    largest = int(labels.max()) if len(labels) else -1
    watched = [Surrogate(module, position, largest) for position, module in enumerate(surrogates)]

    def batches() -> Iterator[Crafted]:
        gradient = FirstStepOnce(recipe.gradient(watched)) if attack.steps else None
        for epsilon in map(float, epsilons):
            if epsilon == 0:
                yield Crafted(0.0, images.clone(), torch.zeros(len(images), dtype=torch.bool, device=images.device))
                continue
            reach = Reach(epsilon, attack.step_for(epsilon))
            moment = Moment(labels, draws, recipe.threat, attack.steps, reach)
            with borrowed(surrogates), torch.no_grad():
                adversarial, zero_gradient = run(recipe, gradient, images, moment)
            for surrogate in watched:
                surrogate.verify()
            yield Crafted(epsilon, adversarial, zero_gradient)

    return batches()


def run(recipe: Recipe, gradient: Gradient | None, images: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
    """Run one attack at one epsilon; returns the images and which of them never had a gradient."""
    threat, epsilon = recipe.threat, moment.reach.epsilon
    adversarial = images
    if recipe.start is not None:
        adversarial = threat.project(recipe.start(images, moment.within("start")), images, epsilon)
    flat = torch.full((len(images),), moment.steps > 0, device=images.device)
    state: State = {}
    for step in range(moment.steps):
        at = moment.at_step(step)
        assert gradient is not None
        slope, state = gradient(adversarial, at, state)
        flat &= ~slope.flatten(1).any(1)
        direction, state = recipe.update(slope, at, state)
        adversarial, state = recipe.step(adversarial, direction, at, state)
        adversarial = threat.project(adversarial, images, epsilon)
    return adversarial, flat


class FirstStepOnce:
    """Computes the gradient at the clean images once for all epsilons, unless a component asked how far it may go."""

    def __init__(self, gradient: Gradient) -> None:
        self.gradient = gradient
        self.images: Tensor | None = None
        self.answer: tuple[Tensor, State] | None = None

    def __call__(self, images: Tensor, at: Moment, state: State) -> tuple[Tensor, State]:
        """Return the gradient at ``images``, kept from an earlier epsilon where that is the same thing."""
        if at.step > 0:
            return self.gradient(images, at, state)
        if self.answer is None or images is not self.images:
            at.reach.asked = False
            answer = self.gradient(images, at, state)
            if at.reach.asked:
                return answer
            self.images, self.answer = images, answer
        return self.answer


def check_arguments(
    attack: AttackCard,
    surrogates: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    indices: Sequence[int],
) -> None:
    """Raise UsageError unless images, labels, epsilons, indices and surrogates fit the attack and each other."""
    shape = tuple(images.shape)
    if images.ndim != 4 or images.dtype != torch.float32:
        raise UsageError(f"images must be float32 of shape (N, C, H, W) (got {images.dtype} {shape})")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise UsageError("images must lie in [0, 1]. Divide 8-bit pixels by 255; normalisation belongs in the network.")
    if labels.dtype != torch.int64 or tuple(labels.shape) != shape[:1]:
        raise UsageError(f"labels must be int64 of shape ({shape[0]},) (got {labels.dtype} {tuple(labels.shape)})")
    if len(labels) and int(labels.min()) < 0:
        raise UsageError(f"labels must not be negative (got {int(labels.min())})")
    if len(indices) != len(images):
        raise UsageError(f"indices must name each of the {len(images)} images (got {len(indices)})")
    for epsilon in epsilons:
        if not 0 <= epsilon < float("inf"):
            raise UsageError(f"an epsilon must be a number from 0 up (got {epsilon})")
    if attack.uses_surrogate and not surrogates:
        raise UsageError(f"the attack {attack.name} follows gradients: give at least one surrogate")
