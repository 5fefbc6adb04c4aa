"""From a card, surrogates and images to adversarial images: the functions that other packages call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import Tensor, nn

from ..arguments import whole
from ..cards import AttackCard
from ..computing import ordinary, ordinary_torch
from ..networks import signum_backward
from .adapters.libraries import Attempt
from .arguments import Batch, Pool, check_card, check_precision, checked_epsilons
from .borrowing import borrowed
from .components.losses import margin
from .composition import build_composition, build_part
from .context import Task
from .crafted import Crafted, unchanged, worst
from .loop import follow
from .surrogates import Precision, Surrogate, lacks_derivative, mean_logits


def craft(
    attack: AttackCard,
    surrogates: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float | str],
    *,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    pool: Pool | tuple[Tensor, Tensor] | None = None,
    targets: Tensor | None = None,
    precision: Precision = "float32",
) -> Iterator[Crafted]:
    """Craft adversarial images, one batch per epsilon, in order and one at a time, so that memory stays the same.

    Arguments are checked at once; the surrogates are borrowed (evaluation mode, frozen, by one thread at a time) only
    while a batch is made. They are shown copies, so that nothing of the caller's is written to. Autocast, default
    types and devices, inference mode and gradient mode of the caller count for nothing.

    Args:
        attack: the attack's card.
        surrogates: networks from float32 images (N, C, H, W) in [0, 1] to logits (N, K); none for noise.
        images: float32 (N, C, H, W) in [0, 1], on the surrogates' device.
        labels: int64 (N,) in [0, K): the true classes.
        epsilons: largest sizes of a perturbation, in the attack's norm and pixels of [0, 1]; 0 returns the images.
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
    with ordinary_torch(gradients=False):
        surrogates, seed, wanted = list(surrogates), whole("seed", seed), checked_epsilons(epsilons)
        check_precision(precision)
        check_card(attack, surrogates, aimed=targets is not None)
        batch = Batch.of(images, labels, indices, pool, targets)
        attempt = build_attempt(attack)
        watched = [Surrogate(module, place, batch.largest_label, precision) for place, module in enumerate(surrogates)]
    modes = attack.backward if any(map(lacks_derivative, watched)) else ("zero",)
    parts = list({part: None for surrogate in watched for part in surrogate.parts})

    def batches() -> Iterator[Crafted]:
        task = None
        for epsilon in wanted:
            if epsilon == 0 or not len(images):
                yield unchanged(ordinary(images), epsilon)
                continue
            with ordinary_torch(gradients=False), borrowed(parts):
                if task is None:
                    task = batch.task(attack, watched, seed)
                    attempts = [attempt(watched, task, [each for each in wanted if each > 0]) for _ in modes]
                candidates = [advance(attempts[0], modes[0])]
                if any(surrogate.differentiated for surrogate in watched):  # else nothing stood in for anything
                    candidates += map(advance, attempts[1:], modes[1:])
                crafted = strongest(candidates, watched, task, targeted=attack.target is not None)
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
    return partial(follow, build_composition(card))


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


def strongest(candidates: list[Crafted], surrogates: Sequence[Surrogate], task: Task, *, targeted: bool) -> Crafted:
    """Choose among attempts, image by image, by how far the surrogates are fooled."""
    if len(candidates) == 1:
        return candidates[0]
    margins = [margin()(mean_logits(surrogates, one.images), task.goal) for one in candidates]
    return worst(candidates, [-each for each in margins] if targeted else margins)
