"""The basic attacks against Foolbox, ART and torchattacks, on grey and colour images.

One-step attacks agree to the bit. Iterative ones add up roundings in another order, so they get 1e-6 of a pixel, or of
the radius where that is above 1.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from robustbench_ekdaa.crafting import craft

art = pytest.importorskip("art")
foolbox = pytest.importorskip("foolbox")
from art.attacks.evasion import BasicIterativeMethod, FastGradientMethod, MomentumIterativeMethod  # noqa: E402
from art.estimators.classification import PyTorchClassifier  # noqa: E402

EPSILONS = [0.03, 0.1, 0.25]
L2_EPSILONS = [0.2, 1.0, 3.0]


def ours(attack, case, epsilons):
    module, images, labels = case
    return [crafted.images for crafted in craft(attack, [module], images, labels, epsilons)]


def with_art(attack, case, **options) -> Tensor:
    module, images, labels = case
    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), tuple(images.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    return torch.from_numpy(attack(classifier, **options).generate(images.numpy(), labels.numpy()))


def with_foolbox(attack, case, epsilon: float) -> Tensor:
    module, images, labels = case
    return attack.run(foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu"), images, labels, epsilon=epsilon)


def with_torchattacks(name: str, case, **options) -> Tensor:
    torchattacks = pytest.importorskip("torchattacks")
    module, images, labels = case
    attack = getattr(torchattacks, name)(module, **options)
    attack.set_device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attack(images, labels)


def test_fgsm_equals_foolbox_art_and_torchattacks_bit_for_bit(attacks, case):
    for epsilon, images in zip(EPSILONS, ours(attacks.attacks["fgsm"], case, EPSILONS), strict=True):
        assert torch.equal(images, with_foolbox(foolbox.attacks.LinfFastGradientAttack(), case, epsilon))
        assert torch.equal(images, with_art(FastGradientMethod, case, eps=epsilon))
        assert torch.equal(images, with_torchattacks("FGSM", case, eps=epsilon))


def test_bim_equals_torchattacks_exactly_and_foolbox_and_art_to_rounding(attacks, case):
    for epsilon, images in zip(EPSILONS, ours(attacks.attacks["bim"], case, EPSILONS), strict=True):
        theirs = foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=0.1, steps=10, random_start=False)
        torch.testing.assert_close(images, with_foolbox(theirs, case, epsilon), rtol=0, atol=1e-6)
        peer = with_art(BasicIterativeMethod, case, eps=epsilon, eps_step=epsilon / 10, max_iter=10, verbose=False)
        torch.testing.assert_close(images, peer, rtol=0, atol=1e-6)
        peer = with_torchattacks("BIM", case, eps=epsilon, alpha=epsilon / 10, steps=10)
        assert torch.equal(images, peer)


def test_mi_fgsm_equals_art_and_torchattacks_to_rounding(attacks, case):
    # Foolbox's MI-FGSM is no peer: it takes the sign before the momentum, against equations 6 and 7 of the paper.
    for epsilon, images in zip(EPSILONS, ours(attacks.attacks["mi_fgsm"], case, EPSILONS), strict=True):
        options = {"eps": epsilon, "eps_step": epsilon / 10, "max_iter": 10, "decay": 1.0, "verbose": False}
        peer = with_art(MomentumIterativeMethod, case, **options)
        torch.testing.assert_close(images, peer, rtol=0, atol=1e-6 * max(1, epsilon))
        peer = with_torchattacks("MIFGSM", case, eps=epsilon, alpha=epsilon / 10, steps=10, decay=1.0)
        torch.testing.assert_close(images, peer, rtol=0, atol=1e-6)


def test_pgd_equals_foolbox_from_the_same_random_start(attacks, card, case):
    _, clean, labels = case
    start = next(craft(card(name="pgd", steps=0, start={"component": "uniform"}), [], clean, labels, [0.1])).images
    images = ours(attacks.attacks["pgd"], case, [0.1])[0]

    class FromThere(foolbox.attacks.LinfPGD):
        def get_random_start(self, x0, epsilon):
            return type(x0)(start)

    peer = with_foolbox(FromThere(rel_stepsize=0.25, steps=10), case, 0.1)
    torch.testing.assert_close(images, peer, rtol=0, atol=1e-6)


def test_l2_steps_equal_foolbox_and_art(attacks, case):
    for epsilon, images in zip(L2_EPSILONS, ours(attacks.attacks["fgsm_l2"], case, L2_EPSILONS), strict=True):
        peer = with_foolbox(foolbox.attacks.L2FastGradientAttack(), case, epsilon)
        torch.testing.assert_close(images, peer, rtol=0, atol=1e-6)
        torch.testing.assert_close(images, with_art(FastGradientMethod, case, norm=2, eps=epsilon), rtol=0, atol=1e-6)
    for epsilon, images in zip(L2_EPSILONS, ours(attacks.attacks["bim_l2"], case, L2_EPSILONS), strict=True):
        theirs = foolbox.attacks.L2BasicIterativeAttack(rel_stepsize=0.1, steps=10, random_start=False)
        torch.testing.assert_close(images, with_foolbox(theirs, case, epsilon), rtol=0, atol=1e-6)


def test_momentum_in_l2_equals_art(attacks, case):
    for epsilon, images in zip(L2_EPSILONS, ours(attacks.attacks["mi_fgsm_l2"], case, L2_EPSILONS), strict=True):
        options = {"norm": 2, "eps": epsilon, "eps_step": epsilon / 10, "max_iter": 10, "decay": 1.0, "verbose": False}
        peer = with_art(MomentumIterativeMethod, case, **options)
        torch.testing.assert_close(images, peer, rtol=0, atol=1e-6 * max(1, epsilon))
