"""The promises: each is a function that raises `Broken` where a rule does not keep it, else says what was seen."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy
import torch
from torch import Tensor

from ...cards import NetworkSpec, Recipe
from ...data.dataset import Dataset
from ...errors import UsageError
from ...files import storable
from ...networks import Network
from ...randomness import keyed_generator, uniform
from ..rule import LearningRule, cross_entropy, softmax_error
from ..rules.backprop import Backprop
from ..rules.frozen import FrozenConvolutions
from .bench import (
    BENCH_NETWORKS,
    PLAIN_RECIPE,
    RECIPES,
    Broken,
    Exempt,
    Make,
    accepted,
    all_parameters,
    batch,
    bind,
    fresh_network,
    main_network,
    test_accuracy,
    train_briefly,
)
from .limits import NO_LIMIT, approach_backprop

# Looser agreement with backprop than this would pass mistakes.
LOOSEST = 1e-2
# Twice the standard error of the difference of two accuracies near 90 % on the 500 test digits.
MARGIN = 0.04


def any_network(make: Make, dataset: Dataset) -> str:
    """A rule learns on any network that a card can describe, or refuses it with a UsageError before training."""
    refused: dict[str, str] = {}
    for name, spec in BENCH_NETWORKS.items():
        try:
            rule = bind(make, spec, dataset, dtype=torch.float32)
        except UsageError as error:
            refused[name] = str(error)
            continue
        rule.compute_gradients(*batch(dataset))
        for key, parameter in all_parameters(rule).items():
            if parameter.grad is None:
                continue
            if parameter.grad.shape != parameter.shape or not bool(torch.isfinite(parameter.grad).all()):
                raise Broken(f"{name}: the gradient of {key} is not finite or not of its shape")
        if rule.network.block_list[-1].layer.weight.grad is None:
            raise Broken(f"{name}: the readout gets no gradient")
    if len(refused) == len(BENCH_NETWORKS):
        raise Broken(f"refuses every network: {next(iter(refused.values()))}")
    found = f"learns on {len(BENCH_NETWORKS) - len(refused)} of {len(BENCH_NETWORKS)} kinds of networks"
    return found + (f"; refuses {', '.join(refused)}: {next(iter(refused.values()))}" if refused else "")


def every_layer(make: Make, dataset: Dataset) -> str:
    """On every network that the rule takes, every layer is taught: its weight's gradient is not all zero."""
    networks = accepted(make, dataset)
    for name, spec in networks.items():
        rule = bind(make, spec, dataset, dtype=torch.float32)
        rule.compute_gradients(*batch(dataset))
        idle = _idle_layers(rule)
        if idle:  # local classifiers that start at zero say nothing before they have learned something themselves
            train_briefly(rule, dataset, PLAIN_RECIPE, steps=3)
            idle &= _idle_layers(rule)
        if idle:
            raise Broken(f"{name}: {', '.join(sorted(idle))} not taught; refuse such a network, or be exempt")
    return f"no layer without a gradient on {len(networks)} kinds of networks"


def _idle_layers(rule: LearningRule) -> set[str]:
    gradients = [block.layer.weight.grad for block in rule.network.block_list]
    named = zip(rule.network.layer_names, gradients, strict=True)
    return {name for name, gradient in named if gradient is None or not bool(gradient.any())}


def backprop_limit(make: Make, dataset: Dataset) -> str:
    """Where theory says that the rule's gradients are backprop's, they are autograd's to the stated precision."""
    held: list[float] = []
    up_to_scale = readout_alone = False
    images, labels = batch(dataset, dtype=torch.float64)
    for name, spec in accepted(make, dataset).items():
        rule = bind(make, spec, dataset, dtype=torch.float64)
        agreement = approach_backprop(rule)
        if agreement is None:
            continue
        if not agreement.deviation <= LOOSEST:
            raise Broken(f"claims agreement within {agreement.deviation:.0e} alone; {LOOSEST:.0e} is the loosest")
        up_to_scale = up_to_scale or agreement.up_to_scale
        truth = _gradients(Backprop(), rule.network, images, labels)
        readout_alone = readout_alone or agreement.readout_alone
        if agreement.readout_alone:
            below = {id(parameter) for block in rule.network.block_list[:-1] for parameter in block.parameters()}
            for key, parameter in rule.network.named_parameters():
                if id(parameter) in below:
                    truth[key] = torch.zeros_like(parameter)
        found = _gradients(rule, rule.network, images, labels)
        for key, true in truth.items():
            apart = deviation(found[key], true, agreement.up_to_scale)
            held.append(apart)
            if not apart <= agreement.deviation:
                raise Broken(f"{name}: {key} deviates by {apart:.1e} from autograd, not {agreement.deviation:.0e}")
    if not held:
        raise Exempt(NO_LIMIT)
    what = f"every {'direction' if up_to_scale else 'gradient'}{' of the readout' if readout_alone else ''}"
    return f"{what} within {max(held):.1e} of autograd's{', nothing below it' if readout_alone else ''}"


def _gradients(rule: LearningRule, network: Network, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    rule.network = network
    network.zero_grad(set_to_none=True)
    rule.compute_gradients(images, labels)
    return {
        key: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for key, parameter in network.named_parameters()
    }


def deviation(found: Tensor, true: Tensor, up_to_scale: bool = False) -> float:
    """Return the l2 distance over the length of `true`, [0, inf); both first made of length 1 if `up_to_scale`."""
    if not bool(true.any()):
        return 0.0 if not bool(found.any()) else float("inf")
    if up_to_scale and bool(found.any()):
        found, true = found / found.norm(), true / true.norm()
    return float((found - true).norm() / true.norm())


def zero_error(make: Make, dataset: Dataset) -> str:
    """When every image is classified with certainty, nothing is left to learn: all updates are exactly zero."""
    rule = bind(make, main_network(make, dataset), dataset, dtype=torch.float32)
    images, labels = batch(dataset)
    labels = torch.full_like(labels, 3)
    # A logit so far above the others that softmax is exactly one-hot; with a bias the weights stay as they are.
    readout = rule.network.block_list[-1].layer
    with torch.no_grad():
        if readout.bias is not None:
            readout.bias[3] = 1e4
        else:
            readout.weight.mul_(1e9)
            labels = rule.network(images).argmax(1)
        assert not bool(softmax_error(rule.network(images), labels).any())
    rule.compute_gradients(images, labels)
    for key, parameter in all_parameters(rule).items():
        if parameter.grad is not None and bool(parameter.grad.any()):
            raise Broken(f"{key} still moves, by up to {float(parameter.grad.abs().max()):.1e}")
    return "all updates exactly zero"


def forward_untouched(make: Make, dataset: Dataset) -> str:
    """The network stays a plain one: what it says depends on its state dict and the images alone, never on labels."""
    spec = main_network(make, dataset)
    rule = bind(make, spec, dataset, dtype=torch.float32)
    plain = fresh_network(spec, dataset)
    images, labels = batch(dataset)
    if rule.network.state_dict().keys() != plain.state_dict().keys():
        raise Broken("the network's state dict has other keys after bind")
    for given in (labels, (labels + 1) % len(dataset.classes)):
        step = rule.compute_gradients(images, given)
        plain.load_state_dict(rule.network.state_dict())
        with torch.no_grad():
            if not torch.equal(step.logits, plain(images)):
                raise Broken("the step's logits are not those of a plain network with the same weights")
            if not torch.equal(rule.network(images), plain(images)):
                raise Broken("after a step the network is no longer a plain network with the same weights")
            torch.testing.assert_close(step.loss, cross_entropy(step.logits, given))
        if step.loss.requires_grad or step.logits.requires_grad:
            raise Broken("the step's loss or logits are not detached")
    return "logits are a plain network's, whatever the labels"


def no_writes(make: Make, dataset: Dataset) -> str:
    """Only the optimiser moves weights: `compute_gradients` moves no parameter and no pixel, `after_step` no weight."""
    rule = bind(make, main_network(make, dataset), dataset, dtype=torch.float32)
    before = {key: parameter.detach().clone() for key, parameter in all_parameters(rule).items()}
    state = copy.deepcopy(rule.network.state_dict())
    given = batch(dataset)
    rule.compute_gradients(*given)
    for what, there, was in zip(("images", "labels"), given, batch(dataset), strict=True):
        if not torch.equal(there, was):
            raise Broken(f"compute_gradients writes to the {what} it is given")
    for key, parameter in all_parameters(rule).items():
        if not torch.equal(before[key], parameter):
            raise Broken(f"compute_gradients writes to {key}")
    rule.after_step()
    for key, value in rule.network.state_dict().items():
        if not torch.equal(state[key], value):
            raise Broken(f"{key} of the network is written to")
    return f"{len(before)} tensors bitwise as they were"


def seeded(make: Make, dataset: Dataset) -> str:
    """The same seed gives the same bits, whatever the global random state is; and that state is left alone."""
    runs = []
    for number in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            before = _global_random_state()
            rule = bind(make, main_network(make, dataset), dataset, dtype=torch.float32)
            train_briefly(rule, dataset, RECIPES[0], steps=4)
            if _global_random_state() != before:
                raise Broken("draws from the global random state; use the generator that bind is given")
        runs.append({**rule.network.state_dict(), **rule.state_dict()})
    if runs[0].keys() != runs[1].keys() or not all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0]):
        raise Broken("two trainings with the same seed differ")
    return "two trainings equal to the bit, global random state untouched"


def _global_random_state() -> tuple[object, ...]:
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(numpy.random.get_state())  # noqa: NPY002


def state_round_trip(make: Make, dataset: Dataset) -> str:
    """A training that is stored, loaded into a rule bound anew, and continued, gives the same bits."""
    from safetensors.torch import load, save

    spec = main_network(make, dataset)
    first = bind(make, spec, dataset, dtype=torch.float32)
    train_briefly(first, dataset, PLAIN_RECIPE, steps=3)
    network, state = (load(save(storable(one.state_dict()))) for one in (first.network, first))
    second = bind(make, spec, dataset, dtype=torch.float32)
    second.network.load_state_dict(network)
    second.load_state_dict(state)
    for rule in (first, second):
        train_briefly(rule, dataset, PLAIN_RECIPE, steps=3)
    for key, value in all_parameters(first).items():
        if not torch.equal(value, all_parameters(second)[key]):
            raise Broken(f"{key} differs after going on from a stored state")
    return f"equal to the bit after going on from {len(state)} stored tensors"


def input_gradients(make: Make, dataset: Dataset) -> str:
    """After training, autograd through the network is the true gradient of its loss: finite differences agree."""
    rule = bind(make, main_network(make, dataset), dataset, dtype=torch.float32)
    train_briefly(rule, dataset, RECIPES[0], steps=20)
    network = rule.network.double()
    # Blank pixels tie under max pooling, where there is no derivative to agree on: a little noise parts them.
    noise = 0.05 * uniform((2, *dataset.image_shape), keyed_generator(0, "noise"), torch.float64)
    images, labels = (dataset.test.images[:2].double() + noise).requires_grad_(), dataset.test.labels[:2]

    def loss(pixels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(network(pixels), labels, reduction="sum")

    (gradient,) = torch.autograd.grad(loss(images), images)
    apart = _finite_difference_error(loss, images.detach(), gradient)
    if not apart < 1e-5:
        raise Broken(f"finite differences disagree with autograd by {apart:.1e}")
    return f"finite differences within {apart:.1e} of autograd at {images.numel()} pixels"


def _finite_difference_error(loss: Callable[[Tensor], Tensor], images: Tensor, gradient: Tensor) -> float:
    worst, step = 0.0, 1e-6
    with torch.no_grad():
        for index in range(images.numel()):
            shift = torch.zeros_like(images)
            shift.view(-1)[index] = step
            slope = float(loss(images + shift) - loss(images - shift)) / (2 * step)
            worst = max(worst, abs(slope - float(gradient.flatten()[index])))
    return worst / max(float(gradient.abs().max()), 1e-12)


def beats_frozen(make: Make, dataset: Dataset) -> str:
    """With one of three recipes the rule beats the control, which trains the readout alone, with its best of them."""
    spec = main_network(make, dataset)
    control = _frozen_accuracy(next(name for name in BENCH_NETWORKS if BENCH_NETWORKS[name] is spec), dataset)
    best = 0.0
    for recipe in RECIPES:
        best = max(best, _trained_accuracy(make, spec, dataset, recipe))
        if best >= control + MARGIN:
            break
    line = f"{100 * best:.1f} % of {len(dataset.test)} test images against the control's {100 * control:.1f} %"
    if best < control + MARGIN:
        raise Broken(f"{line}: not {100 * MARGIN:.0f} points more")
    return line


def _trained_accuracy(make: Make, spec: NetworkSpec, dataset: Dataset, recipe: Recipe) -> float:
    rule = bind(make, spec, dataset, dtype=torch.float32)
    train_briefly(rule, dataset, recipe)
    return test_accuracy(rule.network, dataset)


_FROZEN: dict[tuple[str, str], float] = {}


def _frozen_accuracy(name: str, dataset: Dataset) -> float:
    key = (name, dataset.fingerprint)
    if key not in _FROZEN:
        _FROZEN[key] = max(
            _trained_accuracy(FrozenConvolutions, BENCH_NETWORKS[name], dataset, recipe) for recipe in RECIPES
        )
    return _FROZEN[key]


# In the order of their cost.
TESTS: dict[str, Callable[[Make, Dataset], str]] = {
    "any network": any_network,
    "every layer": every_layer,
    "forward untouched": forward_untouched,
    "no writes": no_writes,
    "zero error": zero_error,
    "backprop limit": backprop_limit,
    "seeded": seeded,
    "state round trip": state_round_trip,
    "input gradients": input_gradients,
    "beats frozen": beats_frozen,
}
