"""What authors of attack components are given: one module with all that a part of an attack needs."""

from __future__ import annotations

import inspect

import pytest
import torch

from robustbench_ekdaa import components
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import context as context_module
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.registry import COMPONENTS

MINE = """
import torch
from robustbench_ekdaa import components

def loss():
    return lambda logits, labels: torch.nn.functional.cross_entropy(logits, labels, reduction="none")

def source():
    def source(surrogates, criterion, transform):
        return transform(components.gradient_of(lambda images, c: criterion(surrogates[0](images), c.goal), surrogates))
    return source

def start():
    return lambda images, context: images + context.epsilon * components.in_unit_ball(context.within("own"))[0]

def darker():
    def transform(images, context):
        yield images
        yield images / 2
    return transform

@components.effective(needs="momentum")
def ahead():
    def wrap(gradient):
        def looking(images, context, state):
            past = state.get("momentum", torch.zeros_like(images))
            return gradient(images + context.per_pixel(context.step_size) * past, context, state)
        return looking
    return wrap

@components.effective(keeps="momentum", steps=2)
def update():
    def update(gradient, context, state):
        gathered = components.mean_size_one(gradient) + state.get("momentum", torch.zeros_like(gradient))
        return gathered, {**state, "momentum": gathered}
    return update

def step():
    return lambda images, direction, context, state: (images + context.step_size * direction.sign(), state)
"""
CARD = """
kind = "attack"
name = "mine"
title = "Mine"
loss = "own.py:loss"
[source]
component = "own.py:source"
[[input]]
component = "own.py:darker"
[[gradient]]
component = "own.py:ahead"
[update]
component = "own.py:update"
[step]
component = "own.py:step"
"""
SAME = {
    "input": [{"component": "scale", "copies": 2}],
    "gradient": [{"component": "look_ahead"}],
    "update": {"component": "momentum"},
}


def workspace(folder, card):
    (folder / "attacks").mkdir()
    (folder / "attacks" / "own.py").write_text(MINE)
    (folder / "attacks" / "mine.toml").write_text(card)
    return Workspace(folder)


def test_every_name_of_the_face_is_there_and_documented():
    for name in components.__all__:
        found = getattr(components, name)
        if callable(found) and not hasattr(found, "__origin__"):  # types of functions are explained by their module
            assert inspect.getdoc(found), name
    assert "gradient   (images, context, state)" in (context_module.__doc__ or "")


def test_an_attack_of_parts_of_one_s_own_in_all_roles_is_the_built_in_one(tmp_path, card, make_network, digits):
    one_source = CARD.replace('[source]\ncomponent = "own.py:source"\n', "")
    mine = workspace(tmp_path, one_source).attacks["mine"]
    module, images, labels = make_network(1), digits[0][:20], digits[1][:20]
    found = next(craft(mine, [module], images, labels, [0.1])).images
    expected = next(craft(card(**SAME), [module], images, labels, [0.1])).images
    # The same but for the order of additions: where a gradient is within rounding of zero, so is its sign.
    assert float(((found - expected).abs() < 1e-6).float().mean()) > 0.99
    assert not torch.equal(found, next(craft(card(), [module], images, labels, [0.1])).images)


def test_a_source_of_one_s_own_takes_several_surrogates(tmp_path, make_network, digits):
    mine = workspace(tmp_path, CARD).attacks["mine"]
    images, labels = digits[0][:4], digits[1][:4]
    made = next(craft(mine, [make_network(1, seed=seed) for seed in range(2)], images, labels, [0.1])).images
    assert float((made - images).abs().max()) == pytest.approx(0.1, abs=1e-6)


def test_a_start_of_one_s_own_draws_for_each_image_alone(tmp_path, digits):
    noise = 'kind = "attack"\nname = "mine"\ntitle = "Mine"\nsteps = 0\n[start]\ncomponent = "own.py:start"\n'
    mine = workspace(tmp_path, noise).attacks["mine"]
    images, labels = digits[0][:6], digits[1][:6]
    together = next(craft(mine, [], images, labels, [0.1])).images
    alone = next(craft(mine, [], images[4:], labels[4:], [0.1], indices=[4, 5])).images
    assert torch.equal(together[4:], alone)
    assert not torch.equal(together, images)


@pytest.mark.parametrize("role", sorted(COMPONENTS))
def test_every_built_in_component_says_what_it_is_and_what_its_options_are(role):
    for name in COMPONENTS[role]:
        factory = COMPONENTS[role].builtin(name)
        if factory is None:  # registered by somebody else
            continue
        documented = inspect.getdoc(factory) or ""
        assert documented, name
        for option in inspect.signature(factory).parameters:
            assert f"{option}: " in documented, (name, option)
