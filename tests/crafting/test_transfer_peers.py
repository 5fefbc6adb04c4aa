"""The transfer attacks against torchattacks, where it can: some of its attacks know three channels only.

What it draws at random is switched off or compared as a set; what a paper says where the two differ is in the test.
"""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.components.inputs import diversity
from robustbench_ekdaa.crafting.context import Budget, Context, Task
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.randomness import ImageDraws

from ..support.peers import with_torchattacks

torchattacks = pytest.importorskip("torchattacks")

EPSILON = 0.1
TEN = {"steps": 10, "step_size": "epsilon / steps"}
MOMENTUM = {"component": "momentum", "decay": 1.0}


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
    assert_same(ours(attacks.attacks["ni_fgsm"], case), with_torchattacks("NIFGSM", case, **options))


def test_si_ni_fgsm_equals_torchattacks(attacks, case):
    options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": 1.0, "m": 5}
    assert_same(ours(attacks.attacks["si_ni_fgsm"], case), with_torchattacks("SINIFGSM", case, **options))


@pytest.mark.parametrize("kernel", ["gaussian", "linear", "uniform"])
def test_ti_fgsm_with_and_without_momentum_equals_torchattacks(card, case, kernel):
    colour_only(case)
    smoothing = [{"component": "kernel_smoothing", "kernel": kernel, "size": 15}]
    for update, decay in (({"component": "plain"}, 0.0), (MOMENTUM, 1.0)):
        options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": decay, "kernel_name": kernel}
        peer = with_torchattacks("TIFGSM", case, diversity_prob=0.0, **options)
        assert_same(ours(card(gradient=smoothing, update=update, **TEN), case), peer)


def test_pi_fgsm_equals_torchattacks(attacks, case):
    colour_only(case)
    peer = with_torchattacks("PIFGSM", case, max_epsilon=EPSILON, num_iter_set=10, amplification=10.0)
    assert_same(ours(attacks.attacks["pi_fgsm"], case), peer)


@pytest.mark.parametrize("name", ["TIFGSM", "PIFGSM"])
def test_torchattacks_cannot_do_these_on_one_channel(make_network, digits, name):
    # When this test fails, torchattacks has changed: compare on grey then.
    with pytest.raises(RuntimeError, match="channels"):
        with_torchattacks(name, (make_network(1), digits[0][:2], digits[1][:2]))


def test_vmi_and_vni_fgsm_equal_torchattacks_when_the_neighbours_are_the_image_itself(card, case):
    # Then VNI's variance is the gradient at the image minus that at the look-ahead: the authors' code as well.
    tuning = {"component": "variance_tuning", "neighbours": 1, "radius": 1e-30}
    ahead = {"component": "look_ahead", "decay": 1.0}
    options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": 1.0, "N": 1, "beta": 0.0}
    peer = with_torchattacks("VMIFGSM", case, **options)
    assert_same(ours(card(gradient=[tuning], update=MOMENTUM, **TEN), case), peer)
    peer = with_torchattacks("VNIFGSM", case, **options)
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


@pytest.mark.parametrize(("loss", "theirs_s"), [("cross_entropy", "ce"), ("logit_ratio", "dlr")])
def test_bim_on_either_loss_equals_upgd_of_torchattacks(card, case, loss, theirs_s):
    peer = with_torchattacks("UPGD", case, eps=EPSILON, alpha=EPSILON / 10, steps=10, loss=theirs_s, decay=0.0)
    assert_same(ours(card(loss=loss, **TEN), case), peer)


def test_mi_fgsm_and_bim_equal_the_attacks_of_torchattacks_that_contain_them(attacks, case):
    options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10}
    assert_same(ours(attacks.attacks["mi_fgsm"], case), with_torchattacks("UPGD", case, decay=1.0, **options))
    one_sample = {"eot_iter": 1, "random_start": False}
    assert_same(ours(attacks.attacks["bim"], case), with_torchattacks("EOTPGD", case, **one_sample, **options))


@pytest.mark.parametrize("side", [8, 20, 28])
def test_input_diversity_makes_the_images_that_torchattacks_makes_and_those_at_the_far_edges(side):
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    count = 600
    images = image.expand(count, -1, -1, -1)
    nothing = torch.zeros(count, dtype=torch.int64)
    task = Task(images, nothing, nothing, (images, nothing), ImageDraws(0, "d", range(count)), THREATS["linf"])
    (copies,) = diversity(probability=1.0, smallest=0.9)(images, Context(task, Budget(0.1, 0.1)))

    peer = torchattacks.DIFGSM(torch.nn.Identity(), diversity_prob=1.0, resize_rate=0.9)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    expected = [peer.input_diversity(image) for _ in range(count)]
    torch.set_rng_state(state)
    nearest = [min(float((other - each).abs().max()) for other in copies.unique(dim=0)) for each in expected[:40]]
    assert max(nearest) < 1e-5
    # The peer never pads at the top or left by all that is missing; an image that shrinks by k fits at k + 1 places.
    missing = side - int(side * 0.9)

    def distinct(made) -> int:
        return len({tuple(each.flatten().mul(1e4).round().int().tolist()) for each in made})

    assert distinct(expected) == sum(shrunk**2 for shrunk in range(1, missing + 1))
    assert (
        distinct(copies) == sum((shrunk + 1) ** 2 for shrunk in range(1, missing + 1)) == {8: 4, 20: 13, 28: 29}[side]
    )


# -- with the same random numbers ------------------------------------------------------------------------------------


class Dealt(torch.Tensor):
    """Numbers in [-1, 1] that pretend to have just been drawn."""

    def uniform_(self, low, high):
        return self.as_subclass(torch.Tensor) * high


class Dealer:
    """Stands for torch inside one file of torchattacks, and deals our draws where it would make its own."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def __getattr__(self, name):
        return getattr(torch, name)

    def randn_like(self, images):
        return next(self.draws).as_subclass(Dealt)

    empty_like = randn_like

    def randint(self, low, high, size, dtype):
        number = next(self.draws)
        assert low <= number <= high  # ours may lie at the far edge, which the peer's own draws leave out
        return torch.tensor([number], dtype=dtype)

    def rand(self, count):
        return torch.tensor([next(self.draws)])


@pytest.fixture
def dealing(monkeypatch):
    def deal(name, draws):
        monkeypatch.setattr(sys.modules[getattr(torchattacks, name).__module__], "torch", Dealer(draws))

    return deal


def drawn(name, images, path, shape, *, kind="uniform", step=0):
    draws = ImageDraws(0, name, range(len(images)))
    return getattr(draws, kind)(path, shape, step=step, like=images)


def test_r_fgsm_equals_torchattacks_with_the_same_signs(attacks, case, dealing):
    images = case[1]
    dealing("RFGSM", [drawn("r_fgsm", images, "start/sign", images.shape[1:], kind="normal")])
    peer = with_torchattacks("RFGSM", case, eps=EPSILON, alpha=EPSILON / 2, steps=1)
    assert_same(ours(attacks.attacks["r_fgsm"], case), peer)


def test_pgd_equals_torchattacks_from_the_same_start(attacks, case, dealing):
    images = case[1]
    dealing("PGD", [2 * drawn("pgd", images, "start/ball", (1, *images.shape[1:]))[:, 0] - 1])
    peer = with_torchattacks("PGD", case, eps=EPSILON, alpha=EPSILON / 4, steps=10)
    assert_same(ours(attacks.attacks["pgd"], case), peer)


def test_one_step_of_pgd_equals_ffgsm_of_torchattacks_from_the_same_start(card, case, dealing):
    images = case[1]
    dealing("FFGSM", [2 * drawn("test", images, "start/ball", (1, *images.shape[1:]))[:, 0] - 1])
    attack = card(steps=1, step_size="1.25 * epsilon", start={"component": "uniform"})
    assert_same(ours(attack, case), with_torchattacks("FFGSM", case, eps=EPSILON, alpha=1.25 * EPSILON))


@pytest.mark.parametrize("name", ["VMIFGSM", "VNIFGSM"])
def test_variance_tuning_equals_torchattacks_with_the_same_neighbours(card, case, dealing, name):
    images, count = case[1], 3
    ahead = [{"component": "look_ahead", "decay": 1.0}] if name == "VNIFGSM" else []
    tuning = {"component": "variance_tuning", "neighbours": count, "radius": 1.5}
    around = [drawn("test", images, "neighbours/ball", (count, *images.shape[1:]), step=step) for step in range(10)]
    dealing(name, [2 * each[:, number] - 1 for each in around for number in range(count)])
    peer = with_torchattacks(name, case, eps=EPSILON, alpha=EPSILON / 10, steps=10, decay=1.0, N=count, beta=1.5)
    assert_same(ours(card(gradient=[*ahead, tuning], update=MOMENTUM, **TEN), case), peer)


def test_di_mi_fgsm_equals_torchattacks_with_the_same_sizes_and_places(attacks, case, dealing):
    # torchattacks draws one size and place for a whole batch, ours one for each image: so each image goes alone.
    module, images, labels = case
    side, least = images.shape[-1], int(images.shape[-1] * 0.9)
    found = ours(attacks.attacks["di_mi_fgsm"], case)
    for row in range(4):
        draws = []
        for step in range(10):
            path = "0 diversity/diversity"
            apply, size, top, left = drawn("di_mi_fgsm", images, path, (4,), step=step)[row].tolist()
            small = least + int(size * (side - least))
            draws += [small, int(top * (side - small + 1)), int(left * (side - small + 1)), apply]
        dealing("DIFGSM", draws)
        alone = module, images[[row]], labels[[row]]
        options = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10, "decay": 1.0, "resize_rate": 0.9}
        assert_same(found[[row]], with_torchattacks("DIFGSM", alone, diversity_prob=0.5, **options))
