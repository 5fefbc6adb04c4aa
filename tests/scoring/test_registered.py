"""Modules of this process, registered under a name: models like any other, told apart by what they compute."""

import copy

import pandas as pd
import pytest
import torch
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import REGISTERED
from robustbench_ekdaa.data import shared_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning import model_job

from ..support.external_models import trained
from ..support.quick_models import write_card


class Net(nn.Module):
    """A network with all that a notebook's network may have: dropout, a number, a function, a buffer not saved."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.first, self.norm, self.out = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(96, 10)
        self.drop, self.act, self.scale = nn.Dropout(0.3), torch.tanh, scale
        self.hidden = [nn.Linear(2, 2)]  # in a plain list
        self.register_buffer("shift", torch.zeros(1), persistent=False)

    def forward(self, images):
        inner = nn.functional.max_pool2d(self.act(self.norm(self.first(images))), 2)
        return self.out(self.drop(inner.flatten(1))) * self.scale + self.shift


@pytest.fixture(autouse=True)
def forgotten():
    """Forget what was registered."""
    yield
    REGISTERED.clear()


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    return {seed: trained(Net(), seed) for seed in (0, 1)}


@pytest.fixture
def spec(tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")
    facts = {"datasets": ("digits",), "models": ("quick_bp", "mine"), "attacks": ("fgsm",), "epsilons": (0, 0.2)}
    return rb.SweepSpec(**facts, images=30, seeds=2)


def key_of(name="mine", seed=0):
    return model_job(shared_dataset("digits"), REGISTERED[name], seed).key


def test_registered_modules_are_swept_in_this_process_and_stay_as_they_were(nets, spec, tmp_path):
    before = {seed: {name: tensor.clone() for name, tensor in net.state_dict().items()} for seed, net in nets.items()}
    nets[0].train()
    rb.register_model("mine", nets, rule="my rule", title="Mine")
    results = rb.sweep(spec, tmp_path / "run", workspace=tmp_path)
    assert nets[0].training
    nets[0].eval()
    for seed, net in nets.items():
        assert all(torch.equal(tensor, before[seed][name]) for name, tensor in net.state_dict().items())
        assert all(parameter.requires_grad for parameter in net.parameters())
    frame = results.frame()
    assert set(frame.loc[frame.target == "mine", "target_rule"]) == {"my rule"}
    assert set(frame["relation"]) == {"white-box", "same-rule", "cross-rule"}
    (outcomes,) = results.outcomes
    images = shared_dataset("digits").test.images[outcomes.indices.tolist()]
    for seed, net in nets.items():
        loaded = rb.load_model("mine", "digits", seed, tmp_path / "run", workspace=tmp_path)
        assert loaded is not net
        assert torch.equal(loaded(images), net(images))
        assert outcomes.clean[key_of(seed=seed)].tolist() == net(images).argmax(1).tolist()
    pd.testing.assert_frame_equal(rb.sweep(spec, tmp_path / "run", workspace=tmp_path).frame(), frame)


def test_other_weights_under_the_same_name_are_another_model(nets, spec, tmp_path):
    spec = spec.model_copy(update={"seeds": 1})
    rb.register_model("mine", nets, rule="my rule")
    first = rb.sweep(spec, tmp_path / "run", workspace=tmp_path).frame()
    rb.register_model("mine", {0: nets[1]}, rule="my rule")
    second = rb.sweep(spec, tmp_path / "run", workspace=tmp_path).frame()
    images = shared_dataset("digits").test.images
    loaded = rb.load_model("mine", "digits", 0, tmp_path / "run", workspace=tmp_path)
    assert torch.equal(loaded(images), nets[1](images))
    assert len(first) == len(second)  # of a model that was replaced nothing is shown
    assert not first.equals(second)


CHANGES = {
    "a weight": lambda net: net.out.bias.data.add_(1e-6),
    "a buffer": lambda net: net.norm.running_mean.add_(1e-6),
    "a buffer that is not saved": lambda net: net.shift.add_(1e-6),
    "a number": lambda net: setattr(net, "scale", 2.0),
    "a function": lambda net: setattr(net, "act", torch.sigmoid),
    "a function without a name": lambda net: setattr(
        net,
        "act",
        lambda inner: 2 * torch.tanh(inner),
    ),
    "another function without a name": lambda net: setattr(net, "act", lambda inner: 3 * torch.tanh(inner)),
    "a hook": lambda net: net.out.register_forward_hook(lambda part, inputs, logits: 2 * logits),
    "a weight in a plain list": lambda net: net.hidden[0].weight.data.add_(1e-6),
    "a part": lambda net: setattr(net, "drop", nn.Identity()),
    "another class": lambda net: setattr(net, "__class__", type("Net", (Net,), {})),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_module_that_was_changed_in_place_is_another_model(change, nets):
    net = copy.deepcopy(nets[0])
    rb.register_model("mine", net, rule="mine")
    before = key_of()
    assert key_of() == before
    CHANGES[change](net)
    assert key_of() != before


def test_two_functions_without_a_name_are_told_apart(nets):
    keys = set()
    for change in ("a function without a name", "another function without a name"):
        net = copy.deepcopy(nets[0])
        CHANGES[change](net)
        rb.register_model("mine", net, rule="mine")
        keys.add(key_of())
    assert len(keys) == 2


def test_what_does_not_decide_the_answers_is_not_part_of_the_identity(nets):
    rb.register_model("mine", copy.deepcopy(nets[0]), rule="mine")
    before = key_of()
    rb.register_model("other", copy.deepcopy(nets[0]).train().requires_grad_(requires_grad=False), rule="another")
    assert key_of("other") == before


@pytest.mark.parametrize("workers", [2, None])
def test_other_processes_do_not_have_it_which_is_said(workers, nets, spec, tmp_path):
    rb.register_model("mine", nets, rule="mine")
    with pytest.raises(UsageError, match=r"^mine: was registered in this process, and no other has it\. Take workers"):
        rb.sweep(spec, tmp_path / "run", workspace=tmp_path, workers=workers)
    assert not (tmp_path / "run").exists()


def test_a_module_with_a_fault_is_refused_by_its_name(spec, tmp_path):
    torch.manual_seed(0)
    drawing = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    drawing.register_forward_hook(lambda part, images, logits: logits + torch.randn_like(logits))
    rb.register_model("mine", {0: drawing, 1: nn.Linear(8, 10)}, rule="mine")
    with pytest.raises(UsageError, match=r"^mine: seed 0: check of determinism: .*robustbench_ekdaa\.averaged"):
        rb.sweep(spec, tmp_path / "run", workspace=tmp_path)


def test_a_buffer_that_was_computed_from_weights_does_not_hinder(nets, tmp_path):
    net = copy.deepcopy(nets[0])
    net.register_buffer("doubled", 2 * net.out.weight)
    rb.register_model("mine", net, rule="mine")
    assert rb.train("mine", "digits", 0, tmp_path / "run").metrics["test_accuracy"] > 0.7


WRONG = {
    "no module": (("mine", {0: 3}, "r"), r"modules: that of seed 0 must be a torch\.nn\.Module \(got 3\)"),
    "a list": (("mine", [nn.Linear(1, 1)], "r"), "modules: must be a torch.nn.Module, or a table of them by seed"),
    "nothing": (("mine", {}, "r"), "modules: must be a torch.nn.Module"),
    "a seed": (("mine", {"a": nn.Linear(1, 1)}, "r"), "modules: a seed: must be a whole number"),
    "a negative seed": (("mine", {-1: nn.Linear(1, 1)}, "r"), "modules: a seed: must be at least 0"),
    "a name": (("my model", nn.Linear(1, 1), "r"), "name: must be 1 to 100 letters"),
    "a crossed name": (("mine@sgd", nn.Linear(1, 1), "r"), "name: must be 1 to 100 letters"),
    "no rule": (("mine", nn.Linear(1, 1), ""), "rule: must have at least 1 character"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_cannot_be_registered_is_one_line(fault):
    arguments, said = WRONG[fault]
    with pytest.raises(UsageError, match=said):
        rb.register_model(*arguments)
    assert not REGISTERED


def test_a_seed_or_a_recipe_that_it_does_not_have_is_one_line(nets, spec, tmp_path):
    rb.register_model("mine", {0: nets[0]}, rule="mine")
    with pytest.raises(UsageError, match=r"^mine: seeds: there is no seed 1 \(only 0\)"):
        rb.sweep(spec, tmp_path / "run", workspace=tmp_path)
    with pytest.raises(UsageError, match="mine@sgd: mine was trained elsewhere, so no recipe can be chosen for it"):
        rb.sweep(spec.model_copy(update={"models": ("mine@sgd",)}), tmp_path / "run", workspace=tmp_path)


def test_a_registered_name_comes_before_a_card_of_that_name_and_is_listed(nets, spec, tmp_path):
    rb.register_model("quick_bp", nets, rule="mine")
    workspace = rb.Workspace(tmp_path)
    assert workspace.model("quick_bp") is REGISTERED["quick_bp"]
    assert workspace.models.names().count("quick_bp") == 1
