"""Networks of other people: whatever their forward does, nothing of the caller's changes, and what fails has a name."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.borrowing import parts_of
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.scoring.jobs import predict

from ..support.quick_attacks import EACH, EPSILONS, quick

# -- what is given stays as it is --------------------------------------------------------------------------------------


class Halving(nn.Module):
    """Halves its images, in place or not, and asks another network."""

    def __init__(self, network: nn.Module, *, in_place: bool) -> None:
        super().__init__()
        self.network, self.in_place = network, in_place

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.mul_(0.5) if self.in_place else images * 0.5)


@pytest.fixture(scope="module")
def prey(make_network, digits):
    """A network fitted to darkened digits, four digits, one of which it gets wrong, targets and a pool."""
    images, labels = digits
    module = make_network(1)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(images * 0.5), labels).backward()
        optimiser.step()
    wrong = labels[:4].clone()
    wrong[3] = (wrong[3] + 1) % 10
    return module.eval(), images[:4], wrong, (wrong + 3) % 10, (images[:40], labels[:40])


@pytest.mark.parametrize("name", EACH)
def test_a_network_that_writes_to_its_input_is_attacked_as_if_it_did_not(name, prey):
    module, *given = prey
    images, labels, targets, pool = (*(each[2:] for each in given[:3]), given[3])
    attack, before = quick(name), [images.clone(), labels.clone(), targets.clone(), *(half.clone() for half in pool)]
    count = 2 if attack.uses_ensemble else int(attack.uses_surrogate)
    epsilons = [0.0, EPSILONS[attack.norm][1]]

    def crafted(in_place: bool):
        networks = [Halving(module, in_place=in_place) for _ in range(count)]
        options = {"pool": pool} | ({"targets": targets} if attack.target else {})
        return list(craft(attack, networks, images, labels, epsilons, **options))

    writing, reading = crafted(True), crafted(False)
    assert all(torch.equal(now, then) for now, then in zip((images, labels, targets, *pool), before, strict=True))
    for one, other in zip(writing, reading, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.zero_gradient, other.zero_gradient)


def test_a_target_that_writes_to_its_input_changes_no_image_that_others_are_shown(prey):
    module, images, *_ = prey
    before = images.clone()
    answers = predict(Halving(module, in_place=True), images)
    assert torch.equal(images, before)
    assert (answers == predict(Halving(module, in_place=False), images)).all()


class Remembering(nn.Module):
    """Writes to one buffer and replaces another, and answers as if it did not."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1, 1, 8, 8))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.last = images[:1].detach()
        return self.network(images)


@pytest.mark.parametrize("name", ["bim", "deepfool_linf", "hopskipjump_linf"])
def test_buffers_come_back_as_they_were(prey, name):
    module, images, labels, *_ = prey
    remembering = Remembering(module)
    before = {key: (value, value.clone()) for key, value in remembering.state_dict().items()}
    last = remembering.last
    for _ in craft(quick(name), [remembering], images, labels, [0.05, 0.1]):
        assert all(torch.equal(remembering.state_dict()[key], value) for key, (_, value) in before.items())
        assert remembering.last is last


# -- parts that PyTorch does not know of -------------------------------------------------------------------------------


def normalised() -> nn.Sequential:
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    torch.set_rng_state(torch_state)
    return made


class Holder:
    def __init__(self, network: nn.Module) -> None:
        self.network = network


class Around(nn.Module):
    """Asks a network that it holds in some way that PyTorch does not see."""

    def __init__(self, network: nn.Module, how: str) -> None:
        super().__init__()
        # Asked for only now: what is assigned to an attribute and is a network, PyTorch sees.
        self.ask = {
            "list": lambda: [network],
            "closure": lambda: lambda images: network(images),
            "partial": lambda: partial(lambda one, images: one(images), network),
            "method": lambda: network.forward,
            "default": lambda: lambda images, one=network: one(images),
            "object": lambda: Holder(network),
            "dict": lambda: {"inner": [{"network": (network,)}]},
        }[how]()
        self.how = how

    def forward(self, images: Tensor) -> Tensor:
        if self.how == "list":
            return self.ask[0](images)
        if self.how == "object":
            return self.ask.network(images)
        if self.how == "dict":
            return self.ask["inner"][0]["network"][0](images)
        return self.ask(images)


@pytest.mark.parametrize("how", ["list", "closure", "partial", "method", "default", "object", "dict"])
def test_a_network_held_where_pytorch_does_not_look_is_evaluated_frozen_and_given_back(prey, how):
    _, images, labels, *_ = prey
    hidden, known = normalised(), normalised().eval()
    before = {key: value.clone() for key, value in hidden.state_dict().items()}
    around = Around(hidden, how)
    assert hidden in parts_of(around)
    found = next(craft(quick("pgd"), [around], images, labels, [0.1])).images
    assert torch.equal(found, next(craft(quick("pgd"), [known], images, labels, [0.1])).images)
    assert all(torch.equal(value, before[key]) for key, value in hidden.state_dict().items())
    assert all(part.training for part in hidden.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in hidden.parameters())


class OwnMode(nn.Module):
    """Tells evaluation by a flag that only its own `train` sets, and adds to its logits otherwise."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.shift = network, 1.0

    def train(self, mode: bool = True) -> OwnMode:
        self.shift = float(mode)
        return super().train(mode)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + self.shift * images.mean((1, 2, 3), keepdim=True))


class AlwaysTraining(nn.Module):
    """Never leaves training mode when it is asked to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> AlwaysTraining:
        return super().train(True)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def test_a_train_of_its_own_is_asked_and_what_it_set_is_put_back(prey):
    module, images, labels, *_ = prey
    own = OwnMode(module)
    found = next(craft(quick("bim"), [own], images, labels, [0.1])).images
    assert torch.equal(found, next(craft(quick("bim"), [module], images, labels, [0.1])).images)
    assert own.shift == 1
    assert own.training
    assert not module.training


def test_a_network_that_will_not_leave_training_mode_is_evaluated_all_the_same(prey):
    _, images, labels, *_ = prey
    stubborn = AlwaysTraining(normalised())
    before = {key: value.clone() for key, value in stubborn.state_dict().items()}
    found = next(craft(quick("bim"), [stubborn], images, labels, [0.1])).images
    assert torch.equal(found, next(craft(quick("bim"), [normalised().eval()], images, labels, [0.1])).images)
    assert all(torch.equal(value, before[key]) for key, value in stubborn.state_dict().items())
    assert all(part.training for part in stubborn.modules())


class Refusing(AlwaysTraining):
    """Refuses to be told its mode, as networks that torch.export made do."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        raise NotImplementedError("Calling train() is not supported yet.")


def test_a_network_that_refuses_to_be_told_its_mode_is_evaluated_all_the_same(prey):
    _, images, labels, *_ = prey
    refusing = Refusing(normalised())
    found = next(craft(quick("bim"), [refusing], images, labels, [0.1])).images
    assert torch.equal(found, next(craft(quick("bim"), [normalised().eval()], images, labels, [0.1])).images)
    assert all(part.training for part in refusing.modules())


# -- networks that cannot be relied on ---------------------------------------------------------------------------------


class Random(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + 0.1 * torch.randn_like(images))


class Counting(nn.Module):
    """Remembers in a plain attribute how often it was asked, and answers accordingly."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.network(images) * (1 + 0.1 * self.calls)


GLOBAL = normalised()


class ThroughGlobal(nn.Module):
    """Asks a network in training mode that no search from here can find."""

    def forward(self, images: Tensor) -> Tensor:
        return GLOBAL(images)


class Whole(nn.Module):
    """Takes batches of four images only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.reshape(4, 1, 8, 8))


def warned(attack, network, images, labels) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(WorkFailed):  # a library may give up on such a network
            list(craft(attack, [network], images, labels, [0.05, 0.1]))
    return [str(one.message) for one in caught if "surrogate" in str(one.message)]


@pytest.mark.parametrize("name", ["fgsm", "pgd", "deepfool_linf", "hopskipjump_linf"])
@pytest.mark.parametrize("kind", [Random, Counting])
def test_a_forward_that_answers_one_batch_in_two_ways_is_warned_of_once_by_name(prey, kind, name):
    module, images, labels, *_ = prey
    (message,) = warned(quick(name), kind(module), images, labels)
    assert message.startswith(f"surrogate 0 ({kind.__name__}): answers the same images differently")
    assert "\n" not in message


def test_a_forward_whose_answer_to_an_image_depends_on_the_batch_is_warned_of_by_name(prey):
    _, images, labels, *_ = prey
    (message,) = warned(quick("bim"), ThroughGlobal(), images, labels)
    assert message.startswith("surrogate 0 (ThroughGlobal): answers an image differently beside other images")


@pytest.mark.parametrize("kind", [OwnMode, Remembering, Whole, lambda module: Halving(module, in_place=True)])
def test_nobody_is_warned_of_a_network_that_answers_alike(prey, kind):
    module, images, labels, *_ = prey
    assert warned(quick("bim"), kind(module), images, labels) == []


def test_asking_again_makes_no_warning_of_rounding_in_bfloat16(prey):
    module, images, labels, *_ = prey
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(craft(quick("bim"), [Halving(module, in_place=False)], images, labels, [0.1], precision="bfloat16"))


# -- several threads ---------------------------------------------------------------------------------------------------


class Pausing(nn.Module):
    """Lets other threads go on in the midst of a forward."""

    def forward(self, maps: Tensor) -> Tensor:
        time.sleep(0.001)
        return maps


@pytest.mark.parametrize("name", ["pgd", "hopskipjump_linf"])
def test_threads_that_attack_one_network_at_once_get_the_images_that_one_alone_gets(prey, name):
    _, images, labels, *_ = prey
    network = nn.Sequential(*normalised()[:3], Pausing(), nn.Dropout(0.5), *normalised()[3:])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    attack, jobs = quick(name), 20 if name == "pgd" else 4

    def attack_it(count: int) -> list[Tensor]:
        return [one.images for one in craft(attack, [network], images[:2], labels[:2], [0.05, 0.1, 0.2][:count])]

    alone = attack_it(3)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(attack_it, 1 + number % 3) for number in range(jobs)]
    for made in found:
        assert all(torch.equal(one, other) for one, other in zip(made.result(), alone, strict=False))
    assert all(part.training for part in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# -- what cannot be attacked -------------------------------------------------------------------------------------------


class Does(nn.Module):
    """A network with something done to its answer."""

    def __init__(self, network: nn.Module, what) -> None:
        super().__init__()
        self.network, self.what = network, what

    def forward(self, images: Tensor) -> Tensor:
        return self.what(self.network, images)


def without_gradient(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images)


def in_inference_mode(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images)


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images):
        return images.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("this operation has no backward\nand says so on two lines")


def out_of_memory(network: nn.Module, images: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("no room for 3 GiB")


REFUSED = [
    (without_gradient, UsageError, "its logits have no gradient. Its forward runs under torch.no_grad"),
    (in_inference_mode, UsageError, "its logits have no gradient. Its forward runs under torch.no_grad"),
    (lambda network, images: network(images).detach(), UsageError, "its logits have no gradient"),
    (lambda network, images: network(images).argmax(1), UsageError, "images with logits of shape ("),
    (lambda network, images: network(images).argmax(1, keepdim=True), UsageError, "must answer with logits, real"),
    (lambda network, images: network(images) > 0, UsageError, "must answer with logits, real numbers (got torch.bool)"),
    (lambda network, images: network(images, 3), UsageError, "cannot answer images of shape ("),
    (lambda network, images: network(images.repeat(1, 3, 1, 1)), UsageError, "cannot answer images of shape ("),
    (lambda network, images: network(images.numpy()), UsageError, "cannot answer images of shape ("),
    (lambda network, images: network(Backwards.apply(images)), UsageError, "its gradient cannot be computed. Runtime"),
    (out_of_memory, WorkFailed, "1, 8, 8) on cpu. OutOfMemoryError: no room for 3 GiB"),
]


@pytest.mark.parametrize(("what", "kind", "message"), REFUSED, ids=range(len(REFUSED)))
@pytest.mark.parametrize("name", ["bim", "deepfool_linf", "apgd_ce", "ens_mi_fgsm", "svre_mi_fgsm"])
def test_what_a_surrogate_cannot_do_is_one_line_that_names_it_and_the_reason(prey, name, what, kind, message):
    module, images, labels, *_ = prey
    attack = quick(name)
    networks = [Does(module, what) for _ in range(2 if attack.uses_ensemble else 1)]
    with pytest.raises(kind) as caught:
        list(craft(attack, networks, images, labels, [0.1]))
    assert message in str(caught.value)
    assert "surrogate 0 (Does)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "two lines" not in str(caught.value)


@pytest.mark.parametrize("name", ["hopskipjump_linf", "noise"])
def test_an_attack_that_only_asks_needs_no_gradient(prey, name):
    module, images, labels, *_ = prey
    attack = quick(name)
    networks = [Does(module, without_gradient)] if attack.uses_surrogate else []
    plain = [module] if attack.uses_surrogate else []
    found = next(craft(attack, networks, images, labels, [0.1])).images
    assert torch.equal(found, next(craft(attack, plain, images, labels, [0.1])).images)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["bim", "deepfool_linf"])
def test_a_quantised_network_is_refused_by_its_layers_and_can_be_asked(prey, name):
    module, images, labels, *_ = prey
    quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
    with pytest.raises(
        UsageError, match=r"surrogate 0 \(Sequential\): its logits have no gradient. Quantised layers \("
    ):
        list(craft(quick(name), [nn.Sequential(*quantised)], images, labels, [0.1]))
    assert torch.isfinite(next(craft(quick("square"), [quantised], images, labels, [0.1])).images).all()


@pytest.mark.parametrize("name", ["pgd", "ssa_fgsm", "deepfool_linf", "square"])
def test_a_network_made_in_inference_mode_is_attacked_and_given_back_as_it_was(prey, make_network, name):
    _, images, labels, *_ = prey
    with torch.inference_mode():
        made = nn.Sequential(nn.BatchNorm2d(1, affine=True), make_network(1)).eval()
        copies = images.clone(), labels.clone()
    before = [*made.parameters(), *made.buffers()]
    usual = nn.Sequential(nn.BatchNorm2d(1), make_network(1)).eval()
    found = next(craft(quick(name), [made], *copies, [0.1])).images
    assert torch.equal(found, next(craft(quick(name), [usual], images, labels, [0.1])).images)
    assert all(now is then for now, then in zip([*made.parameters(), *made.buffers()], before, strict=True))
