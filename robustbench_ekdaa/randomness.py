"""All randomness comes from generators keyed by (seed, purpose, indices); the global state is never used."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def _digest(*key: int | str) -> int:
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def keyed_generator(seed: int, purpose: str, *index: int | str) -> torch.Generator:
    """Return a CPU generator whose stream depends on the key alone, on every machine.

    Args:
        seed: the user's seed.
        purpose: what the numbers are for, such as ``"weights"``; two purposes never share a stream.
        index: further coordinates, such as an epoch or an image index.

    """
    return torch.Generator("cpu").manual_seed(_digest(seed, purpose, *index))


def uniform(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Draw uniform numbers in [0, 1), on the CPU.

    Args:
        shape: the shape of the result.
        generator: a CPU generator.
        dtype: the type of the numbers, whatever PyTorch's default is.

    """
    return torch.rand(tuple(shape), generator=generator, dtype=dtype, device="cpu")


def normal(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Draw standard normal numbers, float32 on the CPU.

    Args:
        shape: the shape of the result.
        generator: a CPU generator.

    """
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


def permutation(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw an order of 0 ... count - 1, int64 on the CPU."""
    return torch.randperm(count, generator=generator, dtype=torch.int64, device="cpu")


def random_integers(below: int, count: int, generator: torch.Generator) -> list[int]:
    """Draw ``count`` times among 0 ... below - 1."""
    numbers = torch.randint(below, (count,), generator=generator, dtype=torch.int64, device="cpu")
    drawn: list[int] = numbers.tolist()
    return drawn


@contextmanager
def seeded_globals(number: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and PyTorch inside, and put their states back afterwards.

    Other people's code draws from them; ours does not.

    Args:
        number: the seed, from 0 to 2^31 - 1.

    """
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(pytorch)
        if devices:
            torch.cuda.set_rng_state_all(devices)


class ImageDraws:
    """Random numbers that belong to single images, so that batching cannot change them.

    The numbers for one image depend on (seed, attack name, image index, purpose, step) and on nothing else: not on
    the batch, the device, the epsilon or the order of work.
    """

    def __init__(self, seed: int, attack: str, indices: Sequence[int]) -> None:
        self.seed, self.attack, self.indices = seed, attack, [int(index) for index in indices]

    def __len__(self) -> int:
        return len(self.indices)

    def _generators(self, purpose: str, step: int) -> list[torch.Generator]:
        return [keyed_generator(self.seed, purpose, self.attack, index, step) for index in self.indices]

    def uniform(self, purpose: str, shape: Sequence[int], *, step: int = 0, like: torch.Tensor) -> torch.Tensor:
        """Uniform numbers in [0, 1), shape (N, *shape), with the device and type of ``like``."""
        rows = [uniform(shape, generator) for generator in self._generators(purpose, step)]
        return torch.stack(rows).to(like) if rows else like.new_empty((0, *shape))

    def normal(self, purpose: str, shape: Sequence[int], *, step: int = 0, like: torch.Tensor) -> torch.Tensor:
        """Standard normal numbers, shape (N, *shape), with the device and type of ``like``."""
        rows = [normal(shape, generator) for generator in self._generators(purpose, step)]
        return torch.stack(rows).to(like) if rows else like.new_empty((0, *shape))
