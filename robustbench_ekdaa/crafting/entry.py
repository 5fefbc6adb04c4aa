"""The door to this room: from a card, surrogates and images to adversarial images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..cards import AttackCard
from ..errors import UsageError
from ..networks import signum_backward
from ..randomness import ImageDraws
from .crafted import Crafted, unchanged, worst
from .criteria import margin
from .libraries import Attempt
from .loop import follow
from .moment import Scene
from .recipe import build_part, build_recipe
from .surrogates import Precision, Surrogate, borrowed, lacks_derivative, mean_logits
from .targets import TARGETS
from .threat import THREATS


def craft(
    attack: AttackCard,
    surrogates: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    pool: tuple[Tensor, Tensor] | None = None,
    targets: Tensor | None = None,
    precision: Precision = "float32",
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
        pool: images and labels that attacks such as Admix mix in (default: the batch itself). With the same pool for
            all batches, batching changes nothing.
        targets: int64 (N,): the classes a targeted attack aims at (default: those the card's rule chooses).
        precision: what the surrogates' layers compute in; images and gradients are float32 all the same.

    Raises:
        UsageError: for arguments that do not fit each other or the card.
        WorkFailed: when a surrogate answers NaN or infinity, or its gradients are NaN.

    """
    positions = list(range(len(images))) if indices is None else [int(index) for index in indices]
    batch = Batch(images, labels, positions, pool or (images, labels), targets)
    check_arguments(attack, surrogates, batch, epsilons)
    attempt = build_attempt(attack)
    watched = [Surrogate(module, place, batch.largest_label, precision) for place, module in enumerate(surrogates)]
    modes = attack.backward if any(map(lacks_derivative, surrogates)) else ("zero",)
    radii = [float(epsilon) for epsilon in epsilons]

    def batches() -> Iterator[Crafted]:
        scene = None
        for radius in radii:
            if radius == 0 or not len(images):
                yield unchanged(images, radius)
                continue
            with computing(surrogates):
                if scene is None:
                    scene = batch.scene(attack, watched, seed)
                    attempts = [attempt(watched, scene, [radius for radius in radii if radius > 0]) for _ in modes]
                candidates = [advance(attempts[0], modes[0])]
                if any(surrogate.differentiated for surrogate in watched):  # else nothing stood in for anything
                    candidates += map(advance, attempts[1:], modes[1:])
                crafted = strongest(candidates, watched, scene, targeted=attack.target is not None)
            for surrogate in watched:
                surrogate.verify()
            yield crafted
            del candidates, crafted

    return batches()


def build_attempt(card: AttackCard) -> Attempt:
    """Build what a card describes: a composition, or another library's attack."""
    if card.adapter is not None:
        attempt: Attempt = build_part(card, "adapter", card.adapter, "adapter")
        return attempt
    return partial(follow, build_recipe(card))


@contextmanager
def computing(surrogates: Sequence[nn.Module]) -> Iterator[None]:
    """Compute with borrowed surrogates, whatever gradient mode the caller is in."""
    with torch.inference_mode(False), torch.no_grad(), borrowed(surrogates):
        yield


def advance(running: Iterator[Crafted], mode: str) -> Crafted:
    """Take the next batch of an attempt, with what stands in for the derivative of signum."""
    kind, _, steepness = mode.partition(":")
    stand_in: AbstractContextManager[None] = nullcontext()
    if kind == "straight_through":
        stand_in = signum_backward("straight_through")
    elif kind == "tanh":
        stand_in = signum_backward("tanh", float(steepness))
    with stand_in:
        return next(running)


def strongest(candidates: list[Crafted], surrogates: Sequence[Surrogate], scene: Scene, *, targeted: bool) -> Crafted:
    """Choose among attempts, image by image, by how far the surrogates are fooled."""
    if len(candidates) == 1:
        return candidates[0]
    margins = [margin()(mean_logits(surrogates, one.images), scene.labels) for one in candidates]
    return worst(candidates, [-each for each in margins] if targeted else margins)


@dataclass(frozen=True)
class Batch:
    """The images of one call, and all that goes with them."""

    images: Tensor
    labels: Tensor
    indices: list[int]
    pool: tuple[Tensor, Tensor]
    targets: Tensor | None

    @property
    def largest_label(self) -> int:
        """The largest class anybody names, or -1."""
        named = [self.labels] if self.targets is None else [self.labels, self.targets]
        return max((int(classes.max()) for classes in named if len(classes)), default=-1)

    def scene(self, attack: AttackCard, surrogates: Sequence[Surrogate], seed: int) -> Scene:
        """Set the scene; a targeted attack's targets are chosen by the clean logits."""
        draws = ImageDraws(seed, attack.name, self.indices)
        images, labels = ordinary(self.images), ordinary(self.labels)
        goal = labels
        if self.targets is not None:
            goal = ordinary(self.targets)
        elif attack.target is not None and len(images):
            goal = TARGETS[attack.target](mean_logits(surrogates, images), labels, draws)
        pool = ordinary(self.pool[0]), ordinary(self.pool[1])
        return Scene(images, labels, goal, pool, draws, THREATS[attack.norm])


def ordinary(tensor: Tensor) -> Tensor:
    """Return a tensor that gradients can flow through, even if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def check_arguments(
    attack: AttackCard, surrogates: Sequence[nn.Module], batch: Batch, epsilons: Sequence[float]
) -> None:
    """Raise UsageError unless images, labels, epsilons, indices and surrogates fit the attack and each other."""
    check_images("images", batch.images)
    check_classes("labels", batch.labels, len(batch.images))
    if batch.pool[0] is not batch.images:
        check_pool(batch)
    if batch.targets is not None:
        check_classes("targets", batch.targets, len(batch.images))
        if attack.target is None:
            raise UsageError(f'the attack {attack.name} is untargeted; give its card target = "random" or another rule')
        if bool((batch.targets == batch.labels).any()):
            raise UsageError("targets must differ from labels: an image cannot be fooled into its own class")
    if len(batch.indices) != len(batch.images):
        raise UsageError(f"indices must name each of the {len(batch.images)} images (got {len(batch.indices)})")
    for epsilon in epsilons:
        if not 0 <= epsilon < float("inf"):
            raise UsageError(f"an epsilon must be a number from 0 up (got {epsilon})")
    for place, module in enumerate(surrogates):
        check_module(f"surrogate {place}", module)
    if attack.uses_surrogate and not surrogates:
        raise UsageError(f"the attack {attack.name} follows gradients: give at least one surrogate")


def check_module(what: str, module: object) -> None:
    """Raise UsageError unless this is a network that float32 images can be given to."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"{what}: must be a torch.nn.Module (got {type(module).__name__}). Wrap a function in one.")
    first = next(module.parameters(), None)
    if first is not None and first.dtype != torch.float32:
        raise UsageError(f"{what} ({type(module).__name__}): must have float32 weights (got {first.dtype})")


def check_pool(batch: Batch) -> None:
    """Raise UsageError unless the pool's images could stand among the batch's."""
    images, labels = batch.pool
    check_classes("the pool's labels", labels, len(images))
    if images.shape[1:] != batch.images.shape[1:] or images.dtype != batch.images.dtype:
        raise UsageError(
            f"the pool's images must be float32 of shape {tuple(batch.images.shape[1:])} each, as the images are "
            f"(got {images.dtype} {tuple(images.shape[1:])})"
        )


def check_images(what: str, images: Tensor) -> None:
    """Raise UsageError unless these are float32 images in [0, 1]."""
    if images.ndim != 4 or images.dtype != torch.float32:
        raise UsageError(f"{what} must be float32 of shape (N, C, H, W) (got {images.dtype} {tuple(images.shape)})")
    darkest, brightest = map(float, torch.aminmax(images)) if images.numel() else (0.0, 1.0)
    if not (darkest >= 0 and brightest <= 1):  # as NaN would be neither
        raise UsageError(f"{what} must lie in [0, 1]. Divide 8-bit pixels by 255; normalise inside the network.")


def check_classes(what: str, classes: Tensor, count: int) -> None:
    """Raise UsageError unless these are ``count`` class numbers."""
    if classes.dtype != torch.int64 or tuple(classes.shape) != (count,):
        raise UsageError(f"{what} must be int64 of shape ({count},) (got {classes.dtype} {tuple(classes.shape)})")
    if count and int(classes.min()) < 0:
        raise UsageError(f"{what} must not be negative (got {int(classes.min())})")
