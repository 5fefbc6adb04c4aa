"""Attacks of the Adversarial Robustness Toolbox (ART) as cards: AutoPGD, Square and other query attacks, and more."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...cards import STEP_SIZE, length_at
from ...errors import UsageError, unknown_name
from .libraries import Attempt, Library, Part, Shown, smallest_first, within_each_ball

NORMS: dict[str, float] = {"linf": np.inf, "l2": 2, "l1": 1}
SQUARE_ONLY = {"GeoDA", "SquareAttack"}
# Options of attacks that a card says otherwise, or a sweep.
OWNERS = {"norm": "the card's norm", "targeted": "the card's target", "eps": "the sweep's epsilon"}
UNSEEDED = {"BoundaryAttack", "HopSkipJump"}


def art_attack(
    *,
    norm: str,
    targeted: bool,
    attack: str,
    options: dict[str, Any] | None = None,
    probabilities: bool = False,
    batched: bool = False,
) -> Attempt:
    """Run a class of `art.attacks.evasion` (Nicolae et al., arXiv:1807.01069).

    An attack with an ``eps`` is run for each epsilon; any other looks for a small perturbation, whose norm decides.

    Args:
        norm: the card's norm.
        targeted: whether the card has a target.
        attack: the class's name, such as ``"SquareAttack"``.
        options: arguments of its constructor; a length may be written in epsilons, ``eps_step = "2 * epsilon"``.
        probabilities: whether to show it softmax outputs, which SimBA wants, rather than logits.
        batched: whether whole batches may be given to it; only for attacks without randomness.

    """
    kind = _attack_class(attack)
    accepted = inspect.signature(kind).parameters
    for name in options or {}:
        if name not in accepted:
            raise UsageError(f"art {attack}: {unknown_name('option', name, accepted)}")
        if name in OWNERS:
            raise UsageError(f"art {attack}: the option {name} would have no effect: {OWNERS[name]} decides it")
    if targeted and "targeted" not in accepted:
        raise UsageError(f"art {attack}: knows no targets; leave target out of its card")
    known = {"norm": NORMS[norm], "targeted": targeted, "verbose": False}
    fixed = {**{name: value for name, value in known.items() if name in accepted}, **(options or {})}

    def run(shown: Shown, part: Part, epsilon: float | None) -> Tensor:
        if fixed.get("loss_type") == "difference_logits_ratio" and part.classes < 3:
            raise UsageError(f"art {attack}: the logits ratio needs at least three classes (got {part.classes})")
        network: nn.Module = nn.Sequential(shown, nn.Softmax(1)) if probabilities else shown
        given = fixed if epsilon is None else {**_in_pixels(fixed, epsilon), "eps": epsilon}
        if "batch_size" in accepted:
            given = {"batch_size": len(part.images), **given}
        if "nb_parallel" in given:  # pixels that ZOO changes at once
            given = {**given, "nb_parallel": min(given["nb_parallel"], part.images[0].numel())}
        # Label types differ between ART's attacks; a one-hot of floats suits them all.
        wanted = nn.functional.one_hot(part.goal, part.classes).float().cpu().numpy()
        height, width = part.images.shape[2:]
        images = part.images
        if attack in SQUARE_ONLY and height != width:
            side = max(height, width)
            images = nn.functional.pad(images, (0, side - width, 0, side - height))
            network = nn.Sequential(Corner(height, width), network)
        with _quiet():
            classifier = _classifier(network.eval(), images, part.classes)
            attacker = kind(classifier, **given)
            made = attacker.generate(images.cpu().numpy(), wanted)
            made = _best_seen(attacker, made, wanted, targeted=targeted)
        return torch.from_numpy(np.asarray(made, np.float32))[..., :height, :width]

    library = Library(f"art {attack}", run, batched)
    return within_each_ball(library) if "eps" in accepted else smallest_first(library, targeted=targeted)


def _attack_class(name: str) -> Any:
    from art.attacks import evasion
    from art.attacks.attack import EvasionAttack

    known = {
        key: value
        for key, value in vars(evasion).items()
        if inspect.isclass(value) and issubclass(value, EvasionAttack)
    }
    if name not in known:
        raise unknown_name("ART attack", name, known)
    # Only this module sees another NumPy: with names that newer versions removed, and without unwanted side effects.
    module: Any = sys.modules[known[name].__module__]
    if name == "GeoDA":
        # It calls np.mat, which NumPy 2 no longer has, and saves its basis as a file in the current folder, where
        # another process may read it half written. The basis takes milliseconds to make.
        module.np = Instead(np, mat=np.asmatrix, save=lambda path, array: None)
    elif name in UNSEEDED:
        # It starts from an image of np.random.RandomState(), which nobody seeds: no two runs would agree.
        module.np = Instead(np, random=Instead(np.random, RandomState=lambda: np.random))
    return known[name]


class Instead:
    """A module with some names replaced."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self.module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def _best_seen(attacker: Any, made: Any, wanted: Any, *, targeted: bool) -> Any:
    """Where AutoPGD fails, take the point of best loss that it saw: it hands back its random start.

    "return x_max" is the last line of algorithm 1 of Croce & Hein, ICML 2020, arXiv:2003.01690.
    """
    best = getattr(attacker, "x_max", None)
    if best is None or best.shape != made.shape:  # another attack, or some images that were wrong anyway
        return made
    reached = (attacker.estimator.predict(made).argmax(1) == wanted.argmax(1)) == targeted
    return np.where(reached[:, None, None, None], made, best)


def _in_pixels(options: dict[str, Any], epsilon: float) -> dict[str, Any]:
    """Turn lengths written in epsilons into numbers."""
    return {
        name: length_at(value, epsilon) if isinstance(value, str) and STEP_SIZE.fullmatch(value) else value
        for name, value in options.items()
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ART from logging that an image could not be attacked: its size says so."""
    logger = logging.getLogger("art")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class Corner(nn.Module):
    """Cuts images back to their own size: for attacks that know square images only, they are padded before."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        """Return the upper left corner."""
        return images[..., : self.height, : self.width]


def _classifier(network: nn.Module, images: Tensor, classes: int) -> Any:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )
