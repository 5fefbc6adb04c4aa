"""What a card's options do under the card's optimiser, measured; what does nothing is said on the card."""

from pathlib import Path

import pytest
import torch

import robustbench_ekdaa.template as template
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.learning.job import TrainingJob
from robustbench_ekdaa.learning.optimisers import make_optimiser
from robustbench_ekdaa.learning.training import make_network, make_rule
from robustbench_ekdaa.randomness import keyed_generator

MODELS = Workspace(Path(template.__file__).parent).models  # the package's own, and the one that `init` writes
SIZED = [
    (name, option, dataset)
    for name in MODELS
    for option, value in MODELS[name].rule_options.items()
    if isinstance(value, float) and value > 0
    for dataset in ("digits", "fashion_mnist")
]


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def trained(digits, card, recipe, steps=12, **options):
    """Train on a few batches of digits with some data set's recipe: where weights and feedback start and end."""
    card = card.model_copy(update={"rule_options": {**card.rule_options, **options}})
    network = make_network(TrainingJob(card, recipe, digits.fingerprint, 0), digits)
    rule = make_rule(card)
    rule.bind(network, keyed_generator(0, "feedback"))
    everything = [*network.parameters(), *rule.feedback_parameters()]
    start = [tensor.detach().clone() for tensor in everything]
    optimiser = make_optimiser(card.recipe(recipe), rule, "here")
    for images, labels in zip(digits.train.images.split(32)[:steps], digits.train.labels.split(32), strict=False):
        optimiser.zero_grad()
        rule.compute_gradients(images, labels)
        optimiser.step()
    return start, [tensor.detach() for tensor in everything], rule


def effect(one, other, start):
    """The largest difference of two trainings in any tensor, relative to how far the tensor moved."""
    return max(
        float((a - b).norm() / (a - first).norm())
        for a, b, first in zip(one, other, start, strict=True)
        if not torch.equal(a, first)
    )


@pytest.mark.parametrize(("name", "option", "dataset"), SIZED)
def test_a_card_says_which_of_its_options_have_no_effect_under_its_optimiser(digits, name, option, dataset):
    card = MODELS[name]
    start, whole, _ = trained(digits, card, dataset)
    _, halved, _ = trained(digits, card, dataset, **{option: card.rule_options[option] / 2})
    # An option that acts moves some tensor by more than 5 % of its way; Adam's epsilon leaves less than 0.1 % of gamma.
    if effect(whole, halved, start) < 0.01:
        assert f"{option} has no effect" in card.notes or f"{option}, which has no effect" in card.notes


def test_under_adamw_ekdaas_kernels_align_by_the_decay_alone_whatever_gamma_is(digits):
    card, steps = MODELS["ekdaa"], 12
    recipe = card.recipe("fashion_mnist")
    shrunk = (1 - recipe.learning_rate * recipe.optimizer_options["weight_decay"]) ** steps
    for gamma in (1.0, 0.1):
        before, after = (apart(trained(digits, card, "fashion_mnist", count, gamma=gamma)[-1]) for count in (0, steps))
        assert [b / a for a, b in zip(before, after, strict=True)] == pytest.approx([shrunk] * len(after), rel=1e-3)
    assert "Kolen-Pollack" in card.title
    assert "Kolen-Pollack" in card.notes


def apart(rule):
    """|W - E| of every layer that has an error kernel."""
    weights = [block.layer.weight for block in rule.network.block_list[1:]]
    return [
        float((weight - kernel).detach().norm())
        for weight, kernel in zip(weights, rule.feedback_parameters(), strict=True)
    ]
