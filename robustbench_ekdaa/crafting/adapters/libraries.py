"""What the adapters to other attack libraries share: one network to show them, their random numbers, their results.

Other libraries draw from the global generators. Each image is attacked by itself with those generators seeded by
(seed, attack, image index), and their states are put back afterwards, so that batching changes nothing here either.
A card may say ``batched = true`` for an attack that draws nothing and treats each image of a batch by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import UsageError, WorkFailed
from ...randomness import keyed_generator, random_integers, seeded_globals
from ..context import Task
from ..crafted import Crafted
from ..surrogates import Surrogate, mean_logits
from ..threat import column

BEYOND = 1.001  # how far to go on where a boundary was met, but not crossed

Attempt = Callable[[Sequence[Surrogate], Task, Sequence[float]], Iterator[Crafted]]


class Shown(nn.Module):
    """The surrogates as one network that answers with mean logits, whatever float type it is asked in.

    Attributes:
        queries: how many images it was shown.

    """

    def __init__(self, surrogates: Sequence[Surrogate]) -> None:
        super().__init__()
        self.surrogates = list(surrogates)
        self.queries = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        self.queries += len(images)
        # A library that divided by zero shows NaN: that is its fault, not the surrogate's, and is sorted out later.
        return mean_logits(self.surrogates, images.float().nan_to_num(0.0))


@dataclass(frozen=True)
class Part:
    """Some images of a task, for a library to attack.

    Attributes:
        images: clean images, (n, C, H, W).
        goal: true classes, or targets of a targeted attack, (n,).
        classes: K.

    """

    images: Tensor
    goal: Tensor
    classes: int


@contextmanager
def seeded_for_image(seed: int, attack: str, index: int) -> Iterator[None]:
    """Seed the global generators for one image inside, and put their states back afterwards."""
    (number,) = random_integers(2**31, 1, keyed_generator(seed, "library", attack, index))
    with seeded_globals(number):
        yield


@contextmanager
def tolerant() -> Iterator[None]:
    """Let no warning be an error inside, whatever the caller has set: other libraries warn of what we cannot mend."""
    if not any(action == "error" for action, *_ in warnings.filters):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@dataclass(frozen=True)
class Found:
    """What a library made of a batch.

    Attributes:
        images: float32 (N, C, H, W); the clean one where it had nothing to offer.
        queries: how many images it showed the surrogates for each, int64 (N,).

    """

    images: Tensor
    queries: Tensor


@dataclass(frozen=True)
class Library:
    """An attack of another library, as a function of the images to attack.

    Attributes:
        name: the library and its attack, for messages.
        run: (network, part, epsilon or None) -> images.
        batched: whether it takes many images at once.

    """

    name: str
    run: Callable[[Shown, Part, float | None], Tensor]
    batched: bool

    def attack(self, surrogates: Sequence[Surrogate], task: Task, rows: Sequence[int], epsilon: float | None) -> Found:
        """Attack some images of a task, at once or one by one; queries of a batch are their mean, rounded up."""
        images = task.images.clone()
        queries = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        classes = mean_logits(surrogates, images[:1]).shape[1] if rows else 0
        for part in ([list(rows)] if self.batched else [[row] for row in rows]) if rows else []:
            shown = Shown(surrogates)
            with seeded_for_image(task.draws.seed, task.draws.attack, task.draws.indices[part[0]]), torch.enable_grad():
                made = self._run(shown, Part(task.images[part], task.goal[part], classes), epsilon)
            made = made.detach().to(images)
            usable = made.flatten(1).isfinite().all(1).view(-1, 1, 1, 1)
            images[part] = torch.where(usable, made, images[part])
            queries[part] = -(-shown.queries // len(part))
        return Found(images, queries)

    def _run(self, shown: Shown, part: Part, epsilon: float | None) -> Tensor:
        try:
            with tolerant():
                return self.run(shown, part, epsilon)
        except ModuleNotFoundError as error:
            raise UsageError(f"{self.name}: needs the package {error.name}. Install it and try again.") from None
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            for surrogate in shown.surrogates:
                surrogate.verify()  # one whose answers are NaN, or random, says more about the reason
                if surrogate.differentiated:
                    surrogate.check_gradient(part.images[:1])
            raise WorkFailed(f"{self.name}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def within_each_ball(library: Library) -> Attempt:
    """Run an attack that is told epsilon once for each, and hold it to its ball and the box."""

    def attempt(surrogates: Sequence[Surrogate], task: Task, epsilons: Sequence[float]) -> Iterator[Crafted]:
        flat = torch.zeros(len(task.images), dtype=torch.bool, device=task.images.device)
        for epsilon in epsilons:
            found = library.attack(surrogates, task, range(len(task.images)), epsilon)
            images = task.threat.project(found.images, task.images, epsilon)
            yield Crafted(epsilon, images, flat, queries=found.queries)

    return attempt


def smallest_first(library: Library, *, targeted: bool) -> Attempt:
    """Run an attack that looks for the smallest perturbation once, and read all epsilons off its result.

    An image the surrogates get wrong as it is has size 0; one for which nothing was found, infinity.
    """

    def attempt(surrogates: Sequence[Surrogate], task: Task, epsilons: Sequence[float]) -> Iterator[Crafted]:
        def fooled(images: Tensor) -> Tensor:
            predictions = mean_logits(surrogates, images).argmax(1)
            return predictions == task.goal if targeted else predictions != task.goal

        already = fooled(task.images)
        rows = (~already).nonzero().flatten().tolist()
        found = library.attack(surrogates, task, rows, None)
        images = found.images.clamp(0, 1)
        # One that stops on the boundary to the last bit can be on its other side in a batch of another size.
        beyond = (task.images + BEYOND * (images - task.images)).clamp(0, 1)
        images = torch.where(column(fooled(images)), images, beyond)
        size = torch.where(fooled(images), task.threat.size(images - task.images), torch.inf)
        size = torch.where(already, 0.0, size)
        for epsilon in epsilons:
            reached = column(size <= epsilon)
            yield Crafted(
                epsilon,
                torch.where(reached, images, task.images),
                torch.zeros_like(already),
                smallest=size,
                queries=found.queries,
            )

    return attempt
