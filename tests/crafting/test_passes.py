"""How many forward and backward passes an attack takes: the ideal, no more."""

from __future__ import annotations

import weakref

import pytest
from torch import nn

from robustbench_ekdaa.crafting import craft


class Counted(nn.Module):
    """A network that counts the images that pass it forwards and backwards, in batches."""

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


@pytest.fixture
def passes(case):
    module, images, labels = case

    def count(attack, epsilons, surrogates: int = 1) -> list[tuple[float, float]]:
        counted = [Counted(module, len(images)) for _ in range(surrogates)]
        list(craft(attack, counted, images, labels, epsilons))
        return [(one.forwards, one.backwards) for one in counted]

    return count


EPSILONS = [0.0, 0.05, 0.1, 0.2, 0.3]  # four to craft at, and the clean pass that costs nothing


def test_fgsm_takes_one_pass_for_all_epsilons(attacks, passes):
    assert passes(attacks.attacks["fgsm"], EPSILONS) == [(1, 1)]
    assert passes(attacks.attacks["fgsm_l2"], EPSILONS) == [(1, 1)]


@pytest.mark.parametrize("name", ["bim", "mi_fgsm", "bim_l2", "mi_fgsm_l2"])
def test_iterative_attacks_share_the_first_of_their_ten_gradients_among_all_epsilons(attacks, passes, name):
    assert passes(attacks.attacks[name], EPSILONS) == [(4 * 9 + 1, 4 * 9 + 1)]


def test_a_random_start_shares_nothing(attacks, passes):
    assert passes(attacks.attacks["pgd"], EPSILONS) == [(40, 40)]


def test_noise_asks_no_surrogate(attacks, case):
    _, images, labels = case
    assert len(list(craft(attacks.attacks["noise"], [], images, labels, EPSILONS))) == 5


def test_the_images_of_one_epsilon_are_let_go_when_the_next_are_made(attacks, case):
    module, images, labels = case
    kept = []
    for crafted in craft(attacks.attacks["bim"], [module], images, labels, EPSILONS[1:]):
        kept.append(weakref.ref(crafted.images))
        del crafted
        assert [one() is None for one in kept] == [True] * (len(kept) - 1) + [False]
