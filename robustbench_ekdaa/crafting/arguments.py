"""What crafting is given, checked before anything is computed: whatever is wrong is told by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import whole
from ..cards import AttackCard, read_epsilons
from ..computing import ordinary
from ..errors import UsageError, shown
from ..randomness import ImageDraws
from .components.targets import TARGETS
from .context import Task
from .surrogates import PRECISIONS, Surrogate, mean_logits
from .threat import THREATS


@dataclass(frozen=True)
class Pool:
    """Images that attacks such as Admix mix in, checked once for many batches.

    Attributes:
        images: float32 (M, C, H, W) in [0, 1], one or more.
        labels: int64 (M,): their classes.

    Raises:
        UsageError: unless they are that.

    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_images("the pool's images", self.images)
        check_classes("the pool's labels", self.labels, self.images)
        if not len(self.images):
            raise UsageError("the pool must hold at least one image (got none)")

    @staticmethod
    def of(pool: Any) -> Pool:
        """Make one of a pair."""
        if isinstance(pool, Pool):
            return pool
        if not isinstance(pool, tuple | list) or len(pool) != 2:
            raise UsageError(f"the pool must be a pair of images and labels (got {type(pool).__name__})")
        return Pool(*pool)


@dataclass(frozen=True)
class Batch:
    """The images of one call, and all that goes with them; see `crafting.craft`.

    Raises:
        UsageError: unless all of that fits together.

    """

    images: Tensor
    labels: Tensor
    indices: Sequence[int]
    pool: Pool | None
    targets: Tensor | None

    @staticmethod
    def of(images: Tensor, labels: Tensor, indices: Any, pool: Any, targets: Tensor | None) -> Batch:
        """Check images, labels and what goes with them."""
        check_images("images", images)
        check_classes("labels", labels, images)
        if targets is not None:
            check_classes("targets", targets, images)
            if bool((targets == labels).any()):
                raise UsageError("targets must differ from labels: an image cannot be fooled into its own class")
        positions = range(len(images)) if indices is None else [whole("indices", index) for index in indices]
        if len(positions) != len(images):
            raise UsageError(f"indices must name each of the {len(images)} images (got {len(positions)})")
        pool = None if pool is None else Pool.of(pool)
        if pool is not None and (place := place_of(pool.images)) != place_of(images):
            raise UsageError(f"the pool's images must be as the images are, {place_of(images)} (got {place})")
        return Batch(images, labels, positions, pool, targets)

    @property
    def largest_label(self) -> int:
        """The largest class anybody names, or -1."""
        named = [self.labels] if self.targets is None else [self.labels, self.targets]
        return max((int(classes.max()) for classes in named if len(classes)), default=-1)

    def task(self, attack: AttackCard, surrogates: Sequence[Surrogate], seed: int) -> Task:
        """Set the task; a targeted attack's targets are chosen by the clean logits."""
        draws = ImageDraws(seed, attack.name, self.indices)
        images, labels = ordinary(self.images), ordinary(self.labels)
        goal = labels
        if self.targets is not None:
            goal = ordinary(self.targets)
        elif attack.target is not None and len(images):
            goal = TARGETS[attack.target](mean_logits(surrogates, images), labels, draws)
        mixed = (images, labels) if self.pool is None else (ordinary(self.pool.images), ordinary(self.pool.labels))
        return Task(images, labels, goal, mixed, draws, THREATS[attack.norm])


def check_card(attack: AttackCard, surrogates: Sequence[nn.Module], *, aimed: bool) -> None:
    """Raise UsageError unless the attack can be run on such surrogates, and with targets if there are any."""
    if aimed and attack.target is None:
        raise UsageError(f'the attack {attack.name} is untargeted; give its card target = "random" or another rule')
    for place, module in enumerate(surrogates):
        check_surrogate(f"surrogate {place}", module)
    if attack.uses_ensemble and len({id(module) for module in surrogates}) == 1:
        raise UsageError(
            f"{attack.at('source.component')}: {attack.source.component} takes several surrogates together (got one); "
            f"give more of them, or an attack with the source single"
        )
    if attack.uses_surrogate and not surrogates:
        raise UsageError(f"the attack {attack.name} follows gradients: give at least one surrogate")


def check_surrogate(what: str, module: object) -> None:
    """Raise UsageError unless this is a network that float32 images can be given to."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"{what}: must be a torch.nn.Module (got {type(module).__name__}). Wrap a function in one.")
    first = next(module.parameters(), None)
    if first is not None and first.dtype != torch.float32:
        raise UsageError(f"{what} ({type(module).__name__}): must have float32 weights (got {first.dtype})")


def check_images(what: str, images: Tensor) -> None:
    """Raise UsageError unless these are float32 images in [0, 1]."""
    check_tensor(what, images)
    if images.ndim != 4 or images.dtype != torch.float32:
        raise UsageError(f"{what} must be float32 of shape (N, C, H, W) (got {images.dtype} {tuple(images.shape)})")
    darkest, brightest = map(float, torch.aminmax(images)) if images.numel() else (0.0, 1.0)
    if not (darkest >= 0 and brightest <= 1):  # as NaN would be neither
        raise UsageError(f"{what} must lie in [0, 1]. Divide 8-bit pixels by 255; normalise inside the network.")


def check_classes(what: str, classes: Tensor, images: Tensor) -> None:
    """Raise UsageError unless these are class numbers, one for each image."""
    check_tensor(what, classes)
    count = len(images)
    if classes.dtype != torch.int64 or tuple(classes.shape) != (count,):
        raise UsageError(f"{what} must be int64 of shape ({count},) (got {classes.dtype} {tuple(classes.shape)})")
    if classes.device != images.device:
        raise UsageError(f"{what} must be on the device of their images, {images.device} (got {classes.device})")
    if count and int(classes.min()) < 0:
        raise UsageError(f"{what} must not be negative (got {int(classes.min())})")


def place_of(images: Tensor) -> str:
    """Say what two batches must have in common to be mixed."""
    return f"{tuple(images.shape[1:])} on {images.device}"


def check_tensor(what: str, value: object) -> None:
    """Raise UsageError unless this is a tensor with numbers in it."""
    if not isinstance(value, Tensor):
        raise UsageError(f"{what} must be a torch.Tensor (got {type(value).__name__}): torch.as_tensor makes one")
    if value.is_meta or value.layout != torch.strided:
        raise UsageError(f"{what} must be a dense tensor that holds numbers (got {value.layout} on {value.device})")


def check_precision(precision: object) -> None:
    """Raise UsageError unless surrogates can compute in that."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be {' or '.join(map(repr, PRECISIONS))} (got {shown(precision)})")


def checked_epsilons(epsilons: object) -> tuple[float, ...]:
    """Return epsilons as numbers, in the order given."""
    try:
        return read_epsilons(epsilons)
    except UsageError as error:
        raise UsageError(f"epsilons{' ' if str(error).startswith('must') else ': '}{error}") from None
