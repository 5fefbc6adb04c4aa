"""Small real networks and real images that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustbench_ekdaa.cards import AttackCard, Workspace
from robustbench_ekdaa.randomness import keyed_generator

ROOT = Path(__file__).resolve().parents[2]


def network(channels: int, classes: int = 10, seed: int = 0, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """A small CNN for 8x8 images or larger, with the same weights for the same seed."""
    made = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        activation(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, classes),
    )
    generator = keyed_generator(seed, "test network")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made.eval()


def fitted(made: nn.Module, images: Tensor, labels: Tensor, epochs: int = 60) -> nn.Module:
    """Fit a network to some images by full-batch Adam: enough to give its gradients a meaning."""
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(epochs):
        optimiser.zero_grad()
        nn.functional.cross_entropy(made(images), labels).backward()
        optimiser.step()
    for parameter in made.parameters():
        parameter.grad = None
    return made.eval()


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """200 scanned digits, float32 (200, 1, 8, 8) in [0, 1], and their classes."""
    bunch = load_digits()
    images = torch.tensor(bunch.images[:200], dtype=torch.float32).div(16).unsqueeze(1)
    return images, torch.tensor(bunch.target[:200], dtype=torch.int64)


@pytest.fixture(scope="session")
def colour_digits(digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The digits in colour: each channel is the digit in another shade, (200, 3, 8, 8)."""
    images, labels = digits
    return torch.cat([images, images * 0.7 + 0.1, 1 - images * 0.5], dim=1), labels


@pytest.fixture(scope="session", params=[1, 3], ids=["grey", "colour"])
def case(
    request: pytest.FixtureRequest, digits: tuple[Tensor, Tensor], colour_digits: tuple[Tensor, Tensor]
) -> tuple[nn.Module, Tensor, Tensor]:
    """A fitted network with 60 images and labels, in grey and in colour."""
    images, labels = digits if request.param == 1 else colour_digits
    return fitted(network(request.param), images, labels), images[:60], labels[:60]


@pytest.fixture(scope="session")
def attacks() -> Workspace:
    """The repository's own cards."""
    return Workspace(ROOT)


@pytest.fixture(scope="session")
def card() -> Callable[..., AttackCard]:
    """Make an attack card that stands in no file."""
    return lambda **fields: AttackCard.model_validate({"kind": "attack", "name": "test", **fields})


@pytest.fixture(scope="session")
def make_network() -> Callable[..., nn.Sequential]:
    """Make a small CNN: `network` above."""
    return network
