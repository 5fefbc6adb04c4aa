"""What every learning rule promises, as tests: used by `check-rule` and by the test suite alike."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch
from torch import Tensor

from ..cards import Block, NetworkSpec, Recipe
from ..computing import ordinary_torch
from ..data.dataset import Dataset
from ..errors import UsageError, unknown_name
from ..networks import Network, build_network
from ..randomness import keyed_generator, permutation, uniform
from ..registry import RULES, build
from .backprop import Backprop
from .frozen import FrozenConvolutions
from .optimisers import make_optimiser
from .rule import LearningRule, cross_entropy, softmax_error

Make = Callable[[], LearningRule]

# Kinds of networks that cards can describe, each as small as it can be.
NETWORKS = {
    "two pooled convolutions": NetworkSpec(
        blocks=(
            Block(layer="conv", width=4, pool="max"),
            Block(layer="conv", width=6, pool="max"),
            Block(layer="linear", width=16),
        )
    ),
    "one pooled convolution": NetworkSpec(blocks=(Block(layer="conv", width=6, pool="max"),)),
    "one hidden layer": NetworkSpec(blocks=(Block(layer="linear", width=12),)),
    "average pooling, relu": NetworkSpec(
        blocks=(Block(layer="conv", width=4, kernel=5, pool="average"), Block(layer="linear", width=10)),
        activation="relu",
    ),
    "overlapping pooling, sigmoid": NetworkSpec(
        blocks=(Block(layer="conv", width=4, pool="max", pool_size=3, pool_stride=2), Block(layer="conv", width=5)),
        activation="sigmoid",
    ),
    "strides, no pooling, no bias": NetworkSpec(
        blocks=(Block(layer="conv", width=4, stride=2), Block(layer="conv", width=5, padding=0)), bias=False
    ),
    "linear layers, softplus": NetworkSpec(
        blocks=(Block(layer="linear", width=20), Block(layer="linear", width=12)), activation="softplus"
    ),
    "convolution and linear layer, leaky relu": NetworkSpec(
        blocks=(Block(layer="conv", width=4, pool="max"), Block(layer="linear", width=10)), activation="leaky_relu"
    ),
    "three linear layers, elu": NetworkSpec(
        blocks=tuple(Block(layer="linear", width=width) for width in (20, 16, 12)), activation="elu"
    ),
    "readout only": NetworkSpec(blocks=()),
    "signum": NetworkSpec(
        blocks=(Block(layer="conv", width=4, pool="max"), Block(layer="linear", width=10)), activation="signum"
    ),
}
# Tried in turn, since rules differ in what they need: direct feedback wants an adaptive optimiser, sums over a batch
# small steps.
RECIPES = (
    Recipe(epochs=5, batch_size=32, learning_rate=0.03, optimizer_options={"momentum": 0.9, "weight_decay": 1e-3}),
    Recipe(epochs=5, batch_size=32, optimizer="AdamW", learning_rate=1e-2),
    Recipe(epochs=5, batch_size=32, learning_rate=1e-3, optimizer_options={"momentum": 0.9}),
)
# Twice the standard error of the difference of two accuracies near 90 % on the 500 test digits.
MARGIN = 0.04


class Broken(Exception):
    """A promise that does not hold, with what was found instead."""


class Exempt(Exception):
    """A promise that cannot be put to the test for this rule, with the reason."""


NO_LIMIT = "the rule claims no place where its gradients are backprop's"
# Looser agreement with backprop than this would pass mistakes.
LOOSEST = 1e-2


@dataclass(frozen=True)
class Finding:
    """What came of one contract test: its name, the verdict, and one line about what was seen."""

    test: str
    verdict: Literal["passed", "failed", "exempt"]
    found: str


def rule_maker(name: str, options: Mapping[str, Any]) -> Make:
    """Return what makes the rule of that name or FILE.py:CLASS; raises UsageError for what is no rule or option."""

    def make() -> LearningRule:
        try:
            rule = build(RULES.get(name), options, f"the options of {name}")
        except SystemExit as error:
            raise UsageError(f"{name}: its code ends the program (SystemExit: {error.code})") from error
        if not isinstance(rule, LearningRule):
            raise UsageError(f"{name}: is not a LearningRule; derive it from robustbench_ekdaa.LearningRule")
        return rule

    make()
    return make


def check_rule(make: Make, dataset: Dataset, tests: tuple[str, ...] | None = None) -> Iterator[Finding]:
    """Put a rule to the contract tests, one after another.

    Args:
        make: makes a fresh rule, with its options; called many times.
        dataset: small images to train on; the digits.
        tests: names of the tests (default: all, see `TESTS`).

    Raises:
        UsageError: for a test nobody knows, here or in the rule's `exemptions`, or an exemption without a reason.

    """
    for name, reason in make().exemptions.items():
        if name not in TESTS:
            raise unknown_name("contract test in exemptions", name, TESTS)
        if not str(reason or "").strip():
            raise UsageError(f"exemptions: {name!r} has no reason. Say why it does not hold; reports print it.")
    for name in TESTS if tests is None else tests:
        if name not in TESTS:
            raise unknown_name("contract test", name, TESTS)
        yield run_test(name, make, dataset)


def declared_exemptions(rule: LearningRule | type[LearningRule]) -> dict[str, str]:
    """Return the contract tests that a rule says do not hold for it, by name, with its reasons."""
    kind = rule if isinstance(rule, type) else type(rule)
    silent = kind.approach_backprop is LearningRule.approach_backprop
    declared = {**({"backprop limit": NO_LIMIT} if silent else {}), **rule.exemptions}
    return {str(test): str(reason) for test, reason in declared.items()}


@ordinary_torch(gradients=True)
def run_test(name: str, make: Make, dataset: Dataset) -> Finding:
    """Run one contract test; whatever goes wrong in the rule becomes a finding."""
    reason = declared_exemptions(make()).get(name)
    if reason is not None:
        return Finding(name, "exempt", reason)
    try:
        return Finding(name, "passed", TESTS[name](make, dataset))
    except Exempt as error:
        return Finding(name, "exempt", str(error))
    except Broken as error:
        return Finding(name, "failed", str(error))
    except (Exception, SystemExit) as error:
        return Finding(name, "failed", " ".join(f"{type(error).__name__}: {error}".split()))


# -- what the tests stand on -----------------------------------------------------------------------------------------


def bind(make: Make, spec: NetworkSpec, dataset: Dataset, *, seed: int = 0, dtype: torch.dtype) -> LearningRule:
    """Return a fresh rule bound to a fresh network."""
    rule = make()
    network = fresh_network(spec, dataset, seed).to(dtype)
    rule.bind(network, keyed_generator(seed, "feedback"))
    return rule


def fresh_network(spec: NetworkSpec, dataset: Dataset, seed: int = 0) -> Network:
    """Return a network for the data set's images with its starting weights."""
    return build_network(
        spec, dataset.image_shape, len(dataset.classes), keyed_generator(seed, "weights"), dataset.channel_statistics
    )


def accepted(make: Make, dataset: Dataset) -> dict[str, NetworkSpec]:
    """Return the networks that the rule takes; those it refuses with a UsageError are left out."""
    taken = {}
    for name, spec in NETWORKS.items():
        try:
            bind(make, spec, dataset, dtype=torch.float32)
        except UsageError:
            continue
        taken[name] = spec
    if not taken:
        raise Broken("bind refuses every network; see the test 'any network'")
    return taken


def main_network(make: Make, dataset: Dataset) -> NetworkSpec:
    """Return the first network that the rule takes."""
    return next(iter(accepted(make, dataset).values()))


def batch(
    dataset: Dataset, number: int = 0, size: int = 16, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Return one batch of training images and labels: copies, whatever a rule may do to them."""
    part = slice(number * size, (number + 1) * size)
    return dataset.train.images[part].to(dtype, copy=True), dataset.train.labels[part].clone()


def all_parameters(rule: LearningRule) -> dict[str, Tensor]:
    """Return the network's and the rule's tensors by name."""
    feedback = {f"feedback parameter {index}": tensor for index, tensor in enumerate(rule.feedback_parameters())}
    return {**dict(rule.network.named_parameters()), **feedback}


def train(rule: LearningRule, dataset: Dataset, recipe: Recipe, steps: int | None = None) -> None:
    """Train with a recipe for its epochs, or for so many steps."""
    optimiser = make_optimiser(recipe, rule, "contract")
    done = 0
    for epoch in range(recipe.epochs):
        order = permutation(len(dataset.train), keyed_generator(0, "order", epoch))
        for chosen in torch.split(order, recipe.batch_size):
            if done == steps:
                return
            rule.compute_gradients(dataset.train.images[chosen].to(rule.network.mean), dataset.train.labels[chosen])
            optimiser.step()
            rule.after_step()
            done += 1


def test_accuracy(network: Network, dataset: Dataset) -> float:
    """Return the share of test images that the network gets right."""
    with torch.no_grad():
        logits = network(dataset.test.images.to(network.mean))
    return float((logits.argmax(1) == dataset.test.labels).double().mean())


# -- the tests -------------------------------------------------------------------------------------------------------


def any_network(make: Make, dataset: Dataset) -> str:
    """A rule learns on any network that a card can describe, or refuses it with a UsageError before training."""
    refused: dict[str, str] = {}
    for name, spec in NETWORKS.items():
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
    if len(refused) == len(NETWORKS):
        raise Broken(f"refuses every network: {next(iter(refused.values()))}")
    found = f"learns on {len(NETWORKS) - len(refused)} of {len(NETWORKS)} kinds of networks"
    return found + (f"; refuses {', '.join(refused)}: {next(iter(refused.values()))}" if refused else "")


def every_layer(make: Make, dataset: Dataset) -> str:
    """On every network that the rule takes, every layer is taught: its weight's gradient is not all zero."""
    networks = accepted(make, dataset)
    for name, spec in networks.items():
        rule = bind(make, spec, dataset, dtype=torch.float32)
        rule.compute_gradients(*batch(dataset))
        idle = _idle_layers(rule)
        if idle:  # local classifiers that start at zero say nothing before they have learned something themselves
            train(rule, dataset, PLAIN, steps=3)
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
        agreement = rule.approach_backprop()
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
            train(rule, dataset, RECIPES[0], steps=4)
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
    train(first, dataset, PLAIN, steps=3)
    network = load(save({key: value.contiguous() for key, value in first.network.state_dict().items()}))
    state = load(save({key: value.contiguous() for key, value in first.state_dict().items()}))
    second = bind(make, spec, dataset, dtype=torch.float32)
    second.network.load_state_dict(network)
    second.load_state_dict(state)
    for rule in (first, second):
        train(rule, dataset, PLAIN, steps=3)
    for key, value in all_parameters(first).items():
        if not torch.equal(value, all_parameters(second)[key]):
            raise Broken(f"{key} differs after going on from a stored state")
    return f"equal to the bit after going on from {len(state)} stored tensors"


# An optimiser without a memory of its own, so that the rule's state is all there is.
PLAIN = Recipe(epochs=1, batch_size=32, learning_rate=0.05, optimizer_options={"weight_decay": 1e-2})


def input_gradients(make: Make, dataset: Dataset) -> str:
    """After training, autograd through the network is the true gradient of its loss: finite differences agree."""
    rule = bind(make, main_network(make, dataset), dataset, dtype=torch.float32)
    train(rule, dataset, RECIPES[0], steps=20)
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
    control = _frozen_accuracy(next(name for name in NETWORKS if NETWORKS[name] is spec), dataset)
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
    train(rule, dataset, recipe)
    return test_accuracy(rule.network, dataset)


_FROZEN: dict[tuple[str, str], float] = {}


def _frozen_accuracy(name: str, dataset: Dataset) -> float:
    key = (name, dataset.fingerprint)
    if key not in _FROZEN:
        _FROZEN[key] = max(_trained_accuracy(FrozenConvolutions, NETWORKS[name], dataset, recipe) for recipe in RECIPES)
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
