"""The transfer attacks against torchattacks, where it can: some of its attacks know three channels only.

What it draws at random is switched off or compared as a set; what a paper says where the two differ is in the test.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.inputs import diversity
from robustbench_ekdaa.crafting.moment import Moment, Reach, Scene
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.randomness import ImageDraws

torchattacks = pytest.importorskip("torchattacks")

EPSILON = 0.1
TEN = {"steps": 10, "step_size": "epsilon / steps"}
MOMENTUM = {"component": "momentum", "decay": 1.0}


def theirs(name, case, **options):
    module, images, labels = case
    attack = getattr(torchattacks, name)(module, **options)
    attack.set_device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attack(images, labels)


def ours(attack, case, **options):
    module, images, labels = case
    return next(craft(attack, [module], images, labels, [EPSILON], **options)).images


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def colour_only(case):
    if case[1].shape[1] == 1:
        pytest.skip("torchattacks does this attack on three channels only; ours does it on one as well")


def test_ni_fgsm_equals_torchattacks(attacks, case):
    options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": 1.0}
    assert_same(ours(attacks.attacks["ni_fgsm"], case), theirs("NIFGSM", case, **options))


def test_si_ni_fgsm_equals_torchattacks(attacks, case):
    options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": 1.0, "m": 5}
    assert_same(ours(attacks.attacks["si_ni_fgsm"], case), theirs("SINIFGSM", case, **options))


@pytest.mark.parametrize("kernel", ["gaussian", "linear", "uniform"])
def test_ti_fgsm_with_and_without_momentum_equals_torchattacks(card, case, kernel):
    colour_only(case)
    smoothing = [{"component": "kernel_smoothing", "kernel": kernel, "size": 15}]
    for update, decay in (({"component": "plain"}, 0.0), (MOMENTUM, 1.0)):
        options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": decay, "kernel_name": kernel}
        peer = theirs("TIFGSM", case, diversity_prob=0.0, **options)
        assert_same(ours(card(gradient=smoothing, update=update, **TEN), case), peer)


def test_pi_fgsm_equals_torchattacks(attacks, case):
    colour_only(case)
    peer = theirs("PIFGSM", case, max_epsilon=EPSILON, num_iter_set=10, amplification=10.0)
    assert_same(ours(attacks.attacks["pi_fgsm"], case), peer)


def test_vmi_and_vni_fgsm_equal_torchattacks_when_the_neighbours_are_the_image_itself(card, case):
    # Then VNI's variance is the gradient at the image minus that at the look-ahead: the authors' code as well.
    tuning = {"component": "variance_tuning", "neighbours": 1, "radius": 1e-30}
    ahead = {"component": "look_ahead", "decay": 1.0}
    options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": 1.0, "N": 1, "beta": 0.0}
    peer = theirs("VMIFGSM", case, **options)
    assert_same(ours(card(gradient=[tuning], update=MOMENTUM, **TEN), case), peer)
    peer = theirs("VNIFGSM", case, **options)
    assert_same(ours(card(gradient=[ahead, tuning], update=MOMENTUM, **TEN), case), peer)


def test_targeted_attacks_equal_torchattacks(card, case):
    module, images, labels = case
    targets = (labels + 3) % 10
    for name, update in (("BIM", {"component": "plain"}), ("MIFGSM", MOMENTUM)):
        attack = getattr(torchattacks, name)(module, eps=EPSILON, alpha=EPSILON / 10, steps=10)
        attack.set_device("cpu")
        attack.set_mode_targeted_by_label(quiet=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = attack(images, targets)
        assert_same(ours(card(update=update, target="random", **TEN), case, targets=targets), peer)


def test_rfgsm_equals_torchattacks_from_the_same_random_signs(attacks, case):
    module, images, labels = case
    card = attacks.attacks["r_fgsm"]
    draws = ImageDraws(0, card.name, range(len(images)))
    signs = draws.normal("start/sign", images.shape[1:], like=images).sign()
    begun = (images + EPSILON / 2 * signs).clamp(0, 1).requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(module(begun), labels), begun)
    expected = (begun.detach() + EPSILON / 2 * slope.sign()).clamp(images - EPSILON, images + EPSILON).clamp(0, 1)
    assert_same(ours(card, case), expected)


@pytest.mark.parametrize("side", [8, 20])
def test_input_diversity_makes_the_images_that_torchattacks_makes(side):
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    count = 600
    images = image.expand(count, -1, -1, -1)
    nothing = torch.zeros(count, dtype=torch.int64)
    scene = Scene(images, nothing, nothing, (images, nothing), ImageDraws(0, "d", range(count)), THREATS["linf"])
    (copies,) = diversity(probability=1.0, smallest=0.9)(images, Moment(scene, Reach(0.1, 0.1)))
    found = {tuple(copy.flatten().mul(1e4).round().int().tolist()) for copy in copies}

    peer = torchattacks.DIFGSM(torch.nn.Identity(), diversity_prob=1.0, resize_rate=0.9)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    expected = [peer.input_diversity(image) for _ in range(count)]
    torch.set_rng_state(state)
    wanted = {tuple(each.flatten().mul(1e4).round().int().tolist()) for each in expected}
    nearest = [min(float((other - each).abs().max()) for other in copies.unique(dim=0)) for each in expected[:40]]
    assert max(nearest) < 1e-5
    assert len(found) == len(wanted)
