"""What the contract tests run on: kinds of networks, recipes, and short trainings on small images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...cards import BlockSpec, NetworkSpec, Recipe
from ...data.dataset import Dataset
from ...errors import UsageError
from ...networks import Network, build_network
from ...randomness import keyed_generator, permutation
from ..optimisers import make_optimiser
from ..rule import LearningRule

Make = Callable[[], LearningRule]

# Kinds of networks that cards can describe, each as small as it can be.
BENCH_NETWORKS = {
    "two pooled convolutions": NetworkSpec(
        blocks=(
            BlockSpec(layer="conv", width=4, pool="max"),
            BlockSpec(layer="conv", width=6, pool="max"),
            BlockSpec(layer="linear", width=16),
        )
    ),
    "one pooled convolution": NetworkSpec(blocks=(BlockSpec(layer="conv", width=6, pool="max"),)),
    "one hidden layer": NetworkSpec(blocks=(BlockSpec(layer="linear", width=12),)),
    "average pooling, relu": NetworkSpec(
        blocks=(BlockSpec(layer="conv", width=4, kernel=5, pool="average"), BlockSpec(layer="linear", width=10)),
        activation="relu",
    ),
    "overlapping pooling, sigmoid": NetworkSpec(
        blocks=(
            BlockSpec(layer="conv", width=4, pool="max", pool_size=3, pool_stride=2),
            BlockSpec(layer="conv", width=5),
        ),
        activation="sigmoid",
    ),
    "strides, no pooling, no bias": NetworkSpec(
        blocks=(BlockSpec(layer="conv", width=4, stride=2), BlockSpec(layer="conv", width=5, padding=0)), bias=False
    ),
    "linear layers, softplus": NetworkSpec(
        blocks=(BlockSpec(layer="linear", width=20), BlockSpec(layer="linear", width=12)), activation="softplus"
    ),
    "convolution and linear layer, leaky relu": NetworkSpec(
        blocks=(BlockSpec(layer="conv", width=4, pool="max"), BlockSpec(layer="linear", width=10)),
        activation="leaky_relu",
    ),
    "three linear layers, elu": NetworkSpec(
        blocks=tuple(BlockSpec(layer="linear", width=width) for width in (20, 16, 12)), activation="elu"
    ),
    "readout only": NetworkSpec(blocks=()),
    "signum": NetworkSpec(
        blocks=(BlockSpec(layer="conv", width=4, pool="max"), BlockSpec(layer="linear", width=10)), activation="signum"
    ),
}
# Tried in turn, since rules differ in what they need: direct feedback wants an adaptive optimiser, sums over a batch
# small steps.
RECIPES = (
    Recipe(epochs=5, batch_size=32, learning_rate=0.03, optimizer_options={"momentum": 0.9, "weight_decay": 1e-3}),
    Recipe(epochs=5, batch_size=32, optimizer="AdamW", learning_rate=1e-2),
    Recipe(epochs=5, batch_size=32, learning_rate=1e-3, optimizer_options={"momentum": 0.9}),
)
# An optimiser without a memory of its own, so that the rule's state is all there is.
PLAIN_RECIPE = Recipe(epochs=1, batch_size=32, learning_rate=0.05, optimizer_options={"weight_decay": 1e-2})


class Broken(Exception):
    """A promise that does not hold, with what was found instead."""


class Exempt(Exception):
    """A promise that cannot be put to the test for this rule, with the reason."""


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
    for name, spec in BENCH_NETWORKS.items():
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


def train_briefly(rule: LearningRule, dataset: Dataset, recipe: Recipe, steps: int | None = None) -> None:
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
