"""An attack card in which a part does nothing is refused, naming file and field: it would be another attack by name."""

from __future__ import annotations

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import build_attempt, craft
from robustbench_ekdaa.errors import UsageError

MOMENTUM = {"update": {"component": "momentum"}}
AHEAD, TUNING, SAMPLING = ({"component": name} for name in ("look_ahead", "variance_tuning", "sampling"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gradient": [AHEAD]}, ("gradient.0.component: look_ahead has no effect without momentum", "[update]")),
        ({"gradient": [TUNING, AHEAD]}, ("gradient.1.component: look_ahead has no effect without momentum",)),
        ({"gradient": [AHEAD], **MOMENTUM, "steps": 1}, ("update.component: momentum has no effect", "got 1")),
        ({**MOMENTUM, "steps": 1}, ("update.component: momentum has no effect in an attack of fewer than 2 steps",)),
        ({"gradient": [TUNING], "steps": 1}, ("gradient.0.component: variance_tuning has no effect",)),
        ({"gradient": [SAMPLING], "steps": 1}, ("gradient.0.component: sampling has no effect",)),
        ({"gradient": [SAMPLING, SAMPLING]}, ("gradient.1.component: sampling would overwrite the average",)),
        ({"gradient": [{**AHEAD, "decay": 0}], **MOMENTUM}, ("gradient.0.decay: must be greater than 0",)),
        ({"update": {"component": "momentum", "decay": 0}}, ("update.decay: must be greater than 0",)),
        ({"gradient": [{"component": "kernel_smoothing", "size": 1}]}, ("gradient.0.size: must be",)),
        ({"input": [{"component": "scale", "copies": 1}]}, ("input.0.copies: must be greater than or equal to 2",)),
        ({"input": [{"component": "admix", "portion": 0}]}, ("input.0.portion: must be greater than 0",)),
        ({"input": [{"component": "diversity", "probability": 0}]}, ("input.0.probability: must be greater than 0",)),
        ({"input": [{"component": "diversity", "smallest": 1}]}, ("input.0.smallest: must be less than 1",)),
        ({"input": [{"component": "spectrum", "strength": 0, "noise": 0}]}, ("input.0", "must not both be 0")),
        ({"step": {"component": "patch_wise", "amplification": 1.0}}, ("step", "amplification 1 never leads out")),
        (
            {"adapter": {"component": "art", "attack": "SquareAttack", "options": {"eps": 0.1}}},
            ("adapter", "the option eps would have no effect: the sweep's epsilon decides it"),
        ),
        (
            {"adapter": {"component": "art", "attack": "SquareAttack", "options": {"norm": 2}}},
            ("adapter", "the option norm would have no effect"),
        ),
        (
            {"norm": "l2", "adapter": {"component": "foolbox", "attack": "DDNAttack", "options": {"distance": 2}}},
            ("adapter", "the option distance would have no effect"),
        ),
    ],
)
def test_a_part_without_effect_is_refused_with_its_field(card, fields, words):
    with pytest.raises(UsageError) as caught:
        build_attempt(card(**fields))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "fields",
    [
        {"gradient": [AHEAD], **MOMENTUM},
        {"gradient": [AHEAD, TUNING], **MOMENTUM, "steps": 2},
        {"input": [{"component": "spectrum", "strength": 0, "noise": 1}]},
        {"input": [{"component": "spectrum", "strength": 0.5, "noise": 0}]},
        {"step": {"component": "patch_wise", "amplification": 1.0}, "step_size": "1.5 * epsilon / steps"},
        {"step": {"component": "patch_wise", "amplification": 1.0}, "step_size": 0.02},
    ],
)
def test_a_part_that_has_an_effect_is_not(card, fields, make_network, digits):
    module, images, labels = make_network(1), digits[0][:8], digits[1][:8]
    made = next(craft(card(**fields), [module], images, labels, [0.1])).images
    plain = {name: value for name, value in fields.items() if name in ("step_size", "steps")}
    if fields.get("update"):
        plain.update(MOMENTUM)
    assert not torch.equal(made, next(craft(card(**plain), [module], images, labels, [0.1])).images)


@pytest.mark.parametrize("field", ["step_size", "loss", "source", "input", "gradient", "update", "step", "backward"])
def test_noise_has_no_use_for_what_guides_steps(card, field):
    given = {"component": "single"} if field == "source" else {"component": "plain"}
    value = {"step_size": 0.1, "loss": "margin", "input": [], "gradient": [], "backward": ["zero"]}.get(field, given)
    with pytest.raises(ValueError, match=f"{field} has no meaning in it"):
        card(steps=0, start={"component": "uniform"}, **{field: value})


@pytest.mark.parametrize("copies", [1, 2])
def test_an_ensemble_of_one_is_refused_also_when_it_is_given_twice(make_network, digits, copies):
    images, labels = digits[0][:4], digits[1][:4]
    with pytest.raises(UsageError, match=r"ens_mi_fgsm\.toml: source\.component: .*several surrogates .*got one"):
        rb.craft("ens_mi_fgsm", [make_network(1)] * copies, images, labels, [0.1])


def test_an_attack_of_foolbox_without_targets_says_so(card, make_network, digits):
    attack = card(target="random", adapter={"component": "foolbox", "attack": "LinfFastGradientAttack"})
    with pytest.raises(UsageError, match="LinfFastGradientAttack: knows no targets; leave target out of its card"):
        next(craft(attack, [make_network(1)], digits[0][:2], digits[1][:2], [0.1]))


OWN = """
from robustbench_ekdaa import components

@components.effective(needs="history")
def leaning():
    return lambda gradient: gradient

@components.effective(keeps="history", steps=3)
def remembering():
    return lambda gradient, context, state: (gradient, {**state, "history": gradient})
"""
CARD = """
kind = "attack"
name = "mine"
title = "Mine"
steps = {steps}
[[gradient]]
component = "own.py:leaning"
{update}
"""


@pytest.mark.parametrize(
    ("steps", "update", "words"),
    [
        (5, "", "gradient.0.component: own.py:leaning has no effect without history; give the card a component that"),
        (2, "own.py:remembering", "update.component: own.py:remembering has no effect in an attack of fewer than 3"),
        (3, "own.py:remembering", None),
    ],
)
def test_a_component_of_somebody_s_own_says_when_it_has_an_effect(tmp_path, steps, update, words):
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "own.py").write_text(OWN)
    named = f'[update]\ncomponent = "{update}"' if update else ""
    (tmp_path / "attacks" / "mine.toml").write_text(CARD.format(steps=steps, update=named))
    card = Workspace(tmp_path).attacks["mine"]
    if words is None:
        build_attempt(card)
        return
    with pytest.raises(UsageError) as caught:
        build_attempt(card)
    assert f"mine.toml: {words}" in str(caught.value)


@pytest.mark.parametrize("name", Workspace().attacks.names())
def test_no_card_of_the_package_has_an_idle_part(name):
    build_attempt(Workspace().attacks[name])
