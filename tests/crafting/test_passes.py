"""What an attack costs, as it is told before: as many passes as it then makes."""

from pathlib import Path

import pytest
import torch

from robustbench_ekdaa.cards import AttackCard, Workspace, builtin_workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.passes import Passes, passes

SHELF = Workspace(builtin_workspace()).attacks
FEWER = {"scale": "copies", "spectrum": "copies", "variance_tuning": "neighbours", "sampling": "samples"}


def quick(name):
    """An attack's card with few steps and copies."""
    table = SHELF[name].model_dump(exclude_unset=True)
    if table.get("steps"):
        table["steps"] = min(3, table["steps"])
    for entry in (*table.get("input", ()), *table.get("gradient", ())):
        if entry["component"] in FEWER:
            entry[FEWER[entry["component"]]] = 3
    return AttackCard.model_validate(table)


ATTACKS = {name: quick(name) for name in SHELF}
COMPOSED = [
    name for name, card in ATTACKS.items() if card.adapter is None and card.source.component != "variance_reduced"
]
IMAGES, LABELS = torch.full((2, 1, 8, 8), 0.5), torch.tensor([0, 1])


class Counted(torch.nn.Sequential):
    """Counts the images that pass forward, and backward to where they came in."""

    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        self.forwards = self.backwards = 0

    def forward(self, images):
        self.forwards += len(images)
        if images.requires_grad:
            images.register_hook(self.count)
        return super().forward(images)

    def count(self, slope):
        self.backwards += len(slope)


@pytest.mark.parametrize("name", COMPOSED)
def test_an_attack_makes_the_passes_that_were_told(name):
    card = ATTACKS[name]
    models = [Counted() for _ in range(2 if card.uses_ensemble else card.uses_surrogate)]
    list(craft(card, models, IMAGES, LABELS, [0.1, 0.2]))
    made = Passes(*(sum(getattr(model, what) for model in models) / len(IMAGES) for what in ("forwards", "backwards")))
    # Each network that is not made of parts known to be steady is asked about one image again, once or twice.
    assert passes(card, 2, len(models)).backward == made.backward
    assert 0 <= made.forward - passes(card, 2, len(models)).forward <= 2 * len(models) / len(IMAGES)


def test_the_reduced_variance_is_told_as_an_upper_bound():
    card, models = ATTACKS["svre_mi_fgsm"], [Counted(), Counted()]
    list(craft(card, models, IMAGES, LABELS, [0.1, 0.2]))
    made = sum(model.backwards for model in models) / len(IMAGES)
    assert 0.8 * passes(card, 2, 2).backward <= made <= passes(card, 2, 2).backward


def test_stand_ins_for_a_derivative_are_tried_one_by_one():
    once, three = passes(ATTACKS["bim"], 2), passes(ATTACKS["bim"], 2, modes=3)
    assert three.backward == 3 * once.backward
    assert three.forward == 3 * once.forward + 3 * 2


def test_of_other_libraries_and_of_somebodys_components_nobody_knows_it_before(tmp_path):
    assert passes(ATTACKS["deepfool_l2"], 3) is None
    (tmp_path / "mine.py").write_text("def twice():\n    return lambda images, context: iter([images, images])\n")
    card = AttackCard.model_validate({"kind": "attack", "name": "mine", "input": [{"component": "mine.py:twice"}]})
    card.stand_in(Path(tmp_path / "mine.toml"))
    assert passes(card, 3) is None
