"""Networks of any architecture: made by a function, trained by rules that ask for no blocks, models like any other."""

from __future__ import annotations

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import NetworkSpec, Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.registry import FACTORIES, NETWORKS

MODULES = """
import torch
from torch import nn

def make(image_shape, classes, *, width: int = 8):
    pixels = image_shape[0] * image_shape[1] * image_shape[2]
    hidden = nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), *hidden, nn.Linear(width, classes))

def numbers(image_shape, classes):
    rate = torch.linspace(0, 0.5, 3)[1].item()  # cannot be done on the meta device
    return nn.Sequential(nn.Flatten(), nn.Dropout(rate), nn.Linear(64, classes))

class Nan(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, images):
        return self.layer(images.flatten(1)) / 0

nothing = lambda image_shape, classes: nn.Flatten()
no_module = lambda image_shape, classes: 3
doubles = lambda image_shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, classes, dtype=torch.float64))
narrow = lambda image_shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
wrong_size = lambda image_shape, classes: nn.Linear(3, 3)
nan = lambda image_shape, classes: Nan()
def fails(image_shape, classes):
    raise KeyError("no such thing")
"""
CARD = """
kind = "model"
name = "{name}"
title = "{name}"
rule = "{rule}"
[network]
factory = "{factory}"
{options}
[training.default]
epochs = {epochs}
batch_size = 64
optimizer = "Adam"
learning_rate = 3e-3
"""


def write(folder, factory, rule="backprop", name="mine", options="", epochs=2):
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "net.py").write_text(MODULES)
    card = CARD.format(factory=factory, rule=rule, name=name, options=options, epochs=epochs)
    (folder / "models" / f"{name}.toml").write_text(card)
    return Workspace(folder)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep in which a module with batch normalisation and dropout stands beside a network of blocks."""
    folder = tmp_path_factory.mktemp("modules")
    workspace = write(folder, "net.py:make")
    spec = rb.SweepSpec(
        datasets=["digits"], models=["mine", "frozen"], attacks=["fgsm"], epsilons=[0, 0.1], seeds=1, images=60
    )
    return workspace, rb.sweep(spec, folder / "run", workspace=workspace), folder / "run"


def test_a_module_is_surrogate_and_target_like_any_other_model(swept):
    frame = swept[1].frame()
    attacked = frame[frame["epsilon"] == 0.1]
    assert set(attacked["surrogate"]) == set(attacked["target"]) == {"mine", "frozen"}
    own = attacked[(attacked["surrogate"] == "mine") & (attacked["target"] == "mine")].iloc[0]
    assert own["clean_accuracy"] > 0.4
    assert own["accuracy"] < own["clean_accuracy"] - 0.2


def test_a_loaded_module_evaluates_and_keeps_its_statistics(swept):
    workspace, _, run = swept
    network = rb.load_model("mine", "digits", seed=0, run=run, workspace=workspace)
    assert not any(part.training for part in network.modules())
    norm = next(part for part in network.modules() if isinstance(part, torch.nn.BatchNorm1d))
    assert int(norm.num_batches_tracked) > 20
    test = rb.load_dataset("digits", "test")
    together = network(test.images[:8])
    alone = torch.cat([network(test.images[[row]]) for row in range(8)])
    torch.testing.assert_close(together, alone)


def test_training_a_module_is_the_same_to_the_bit_and_moves_no_global_generator(tmp_path):
    workspace = write(tmp_path, "net.py:make")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    rb.train("mine", "digits", seed=0, run=tmp_path / "a", workspace=workspace)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    rb.train("mine", "digits", seed=0, run=tmp_path / "b", workspace=workspace)
    first, second = (
        rb.load_model("mine", "digits", seed=0, run=tmp_path / run, workspace=workspace).state_dict() for run in "ab"
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    rb.train("mine", "digits", seed=1, run=tmp_path / "b", workspace=workspace)
    other = rb.load_model("mine", "digits", seed=1, run=tmp_path / "b", workspace=workspace).state_dict()
    assert not torch.equal(first["body.1.weight"], other["body.1.weight"])


def test_straight_through_trains_a_module_as_backprop_does(tmp_path):
    write(tmp_path, "net.py:make")
    workspace = write(tmp_path, "net.py:make", rule="straight_through", name="other")
    found = []
    for name in ("mine", "other"):
        rb.train(name, "digits", seed=0, run=tmp_path / "run", workspace=workspace)
        found.append(rb.load_model(name, "digits", seed=0, run=tmp_path / "run", workspace=workspace).state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("rule", ["ekdaa", "fa", "dfa", "frozen", "predsim", "kolen_pollack"])
def test_a_rule_that_needs_blocks_refuses_a_module_before_anything_runs(tmp_path, rule):
    workspace = write(tmp_path, "net.py:make", rule=rule)
    with pytest.raises(UsageError, match=rf"mine.toml: rule: {rule} tells errors block by block, and net.py:make"):
        rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=workspace)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nothing", "network.factory: net.py:nothing returns a module without weights"),
        ("no_module", "network.factory: net.py:no_module must return a torch.nn.Module (got 3)"),
        ("doubles", "must return a module of float32 weights (got torch.float64)"),
        ("narrow", "fails on 17 images of digits: its logits must be of shape (17, 10) (got (17, 3))"),
        ("wrong_size", "network.factory: net.py:wrong_size fails on 17 images of digits: RuntimeError"),
        ("nan", "fails on 17 images of digits: its logits must be finite"),
        ("fails", "fails: KeyError: 'no such thing'"),
        ("missing", "missing"),
    ],
)
def test_what_is_wrong_with_a_module_is_one_line_before_anything_runs(tmp_path, factory, message):
    workspace = write(tmp_path, f"net.py:{factory}")
    with pytest.raises(UsageError) as caught:
        rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=workspace)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_module_that_needs_numbers_to_be_made_is_trained(tmp_path):
    workspace = write(tmp_path, "net.py:numbers", epochs=1)
    rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=workspace)


def test_the_options_and_the_file_of_a_factory_are_part_of_the_model_s_identity(tmp_path):
    workspace = write(tmp_path, "net.py:make", epochs=1)
    rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=workspace)
    wider = write(tmp_path, "net.py:make", epochs=1, options="options = { width = 9 }")
    rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=wider)
    (tmp_path / "models" / "net.py").write_text(MODULES + "\n# edited\n")
    rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=Workspace(tmp_path))
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 3
    bad = write(tmp_path, "net.py:make", options="options = { widht = 9 }")
    with pytest.raises(UsageError, match=r"network\.options: unknown option 'widht'. Did you mean width"):
        rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=bad)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"preset": "mlp", "factory": "residual"}, "give either preset, blocks or factory"),
        ({}, "give either preset, blocks or factory"),
        ({"factory": "residual", "activation": "relu"}, "activation is said of blocks"),
        ({"preset": "mlp", "options": {"width": 3}}, "options are those of a factory"),
    ],
)
def test_a_network_is_described_in_one_way(fields, message):
    with pytest.raises(UsageError, match=message):
        NetworkSpec(**fields)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 11)])
@pytest.mark.parametrize("name", [*FACTORIES, "mlp", "wide_cnn"])
def test_ready_made_networks_take_images_of_all_sizes(name, shape):
    spec = NetworkSpec(preset=name) if name in NETWORKS.names() else NetworkSpec(factory=name)
    network = build_network(spec, shape, 10, keyed_generator(0, "weights")).eval()
    images = torch.rand((3, *shape), generator=torch.Generator().manual_seed(0))
    assert network(images).shape == (3, 10)
    again = build_network(spec, shape, 10, keyed_generator(0, "weights")).eval()
    assert torch.equal(network(images), again(images))


def test_the_residual_network_and_the_transformer_have_about_three_hundred_thousand_weights():
    for name in ("residual", "vision_transformer"):
        network = build_network(NetworkSpec(factory=name), (1, 28, 28), 10, keyed_generator(0, "weights"))
        assert 200_000 < sum(parameter.numel() for parameter in network.parameters()) < 400_000
