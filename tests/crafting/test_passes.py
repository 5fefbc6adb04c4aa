"""How many forward and backward passes an attack takes: the ideal, no more."""

from __future__ import annotations

import weakref

import pytest
from torch import nn

from robustbench_ekdaa.crafting import craft


class Counted(nn.Module):
    """A network that counts the batches of images that pass it forwards and backwards."""

    def __init__(self, module: nn.Module, batch: int) -> None:
        super().__init__()
        self.module, self.batch = module, batch
        self.forwards = self.backwards = 0.0

    def forward(self, images):
        self.forwards += len(images) / self.batch
        logits = self.module(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient):
        self.backwards += len(gradient) / self.batch


EPSILONS = [0.0, 0.05, 0.1, 0.2, 0.3]  # four to craft at, and the clean pass that costs nothing
SHARED = 1 + 4 * 9  # ten steps at four epsilons whose first gradients are the same one

PASSES = {
    "fgsm": 1,
    "fgsm_l2": 1,
    "fgsm_l1": 1,
    "ti_fgsm": 1,
    "r_fgsm": 4,
    "bim": SHARED,
    "bim_l2": SHARED,
    "bim_l1": SHARED,
    "mi_fgsm": SHARED,
    "ni_fgsm": SHARED,
    "ti_mi_fgsm": SHARED,
    "pi_fgsm": SHARED,
    "di_fgsm": SHARED,
    "di_ti_mi_fgsm": SHARED,
    "pgd": 4 * 10,
    "si_ni_fgsm": 5 * SHARED,
    "admix": 3 * 5 * SHARED,
    "ssa_fgsm": 20 * 4 * 10,  # its noise has the size of epsilon, so that nothing can be shared
    "vmi_fgsm": 1 + 4 * 9 * 21,  # no variance is computed after the last step
    "vni_fgsm": 1 + 4 * 9 * 21,
    "emi_fgsm": 1 + 4 * 9 * 11,  # the first eleven points coincide
    "ens_fgsm": 1,
    "ens_mi_fgsm": SHARED,
    "ens_mi_fgsm_probabilities": SHARED,
    "ens_mi_fgsm_losses": SHARED,
}


@pytest.fixture(scope="module")
def passes(make_network, digits):
    images, labels = digits[0][:4], digits[1][:4]

    def count(attack) -> list[tuple[float, float]]:
        counted = [Counted(make_network(1, seed=seed), 4) for seed in range(3 if attack.uses_ensemble else 1)]
        list(craft(attack, counted, images, labels, EPSILONS))
        return [(round(one.forwards), round(one.backwards)) for one in counted]

    return count


@pytest.mark.parametrize("name", sorted(PASSES))
def test_an_attack_takes_this_many_passes_at_four_epsilons(attacks, passes, name):
    assert set(passes(attacks.attacks[name])) == {(PASSES[name], PASSES[name])}


def test_svre_takes_at_most_one_extra_pass_per_surrogate_and_one_per_inner_step(attacks, passes):
    counts = passes(attacks.attacks["svre_mi_fgsm"])
    assert all(forwards == backwards for forwards, backwards in counts)
    together, apart, inner = 3, 3, 4 * 3 - 1
    assert sum(forwards for forwards, _ in counts) <= 4 * 10 * (together + apart + inner)


def test_a_target_costs_one_forward_pass_over_the_clean_images(attacks, passes):
    assert passes(attacks.attacks["mi_fgsm_targeted"]) == [(SHARED + 1, SHARED)]


def test_noise_asks_no_surrogate(attacks, case):
    _, images, labels = case
    assert len(list(craft(attacks.attacks["noise"], [], images, labels, EPSILONS))) == 5


def test_the_images_of_one_epsilon_are_let_go_when_the_next_are_made(attacks, case):
    module, images, labels = case
    kept = []
    for crafted in craft(attacks.attacks["bim"], [module], images, labels, EPSILONS[1:]):
        kept.append(weakref.ref(crafted.images))
        del crafted
        assert [one() is None for one in kept[:-1]] == [True] * (len(kept) - 1)
