"""Crafting happens where the surrogates are.

Torch's "meta" device stands in for a GPU: it is not the CPU, and it has no numbers that anybody could wait for.
"""

import copy

import pytest
import torch

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.composition import build_composition
from robustbench_ekdaa.crafting.context import Budget, Context, Task
from robustbench_ekdaa.crafting.loop import run
from robustbench_ekdaa.crafting.surrogates import Surrogate
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.randomness import ImageDraws

from ..support.one_device import OneDevice

CARDS = [card for card in map(Workspace().attacks.__getitem__, Workspace().attacks.names()) if card.adapter is None]
# Input diversity looks at the sizes that were drawn, which takes numbers.
MOVABLE = [card for card in CARDS if all(part.component != "diversity" for part in card.input)]
EPSILONS = {"linf": 0.1, "l2": 1.2, "l1": 8.0}
TOGETHER = ("ensemble_logits", "ensemble_losses", "ensemble_probabilities", "variance_reduced")


@pytest.mark.parametrize("attack", MOVABLE, ids=lambda card: card.name)
def test_an_attack_stays_on_its_surrogates_device(make_network, attack):
    count = 2 if attack.source.component in TOGETHER else 1
    surrogates = [Surrogate(make_network(3).to("meta"), place, 9) for place in range(count)]
    images = torch.empty(4, 3, 8, 8, device="meta")
    labels = torch.empty(4, dtype=torch.int64, device="meta")
    draws = ImageDraws(0, attack.name, range(4))
    task = Task(images, labels, labels, (images, labels), draws, THREATS[attack.norm])
    composition = build_composition(attack.model_copy(update={"steps": min(2, attack.steps)}))
    with OneDevice(), torch.no_grad():
        found, steepest = run(
            composition, composition.gradient(surrogates), Context(task, Budget(0.1, composition.step_for(0.1)))
        )
    assert (found.device.type, found.shape) == ("meta", images.shape)
    assert (steepest.device.type, steepest.shape) == ("meta", (4,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("attack", CARDS, ids=lambda card: card.name)
def test_an_attack_finds_as_much_on_a_gpu(case, attack):
    module, images, labels = case
    count = 2 if attack.source.component in TOGETHER else 1
    lost = []
    for device in ("cpu", "cuda"):
        there = copy.deepcopy(module).to(device)
        (found,) = craft(attack, [there] * count, images.to(device), labels.to(device), [EPSILONS[attack.norm]])
        assert found.images.device.type == device
        with torch.no_grad():
            logits = there(found.images)
        lost.append(torch.nn.functional.cross_entropy(logits, labels.to(device)).item())
    # A sign that rounding turns moves one pixel, and with it single images, but not what an attack gains.
    assert lost[1] == pytest.approx(lost[0], rel=0.05)
