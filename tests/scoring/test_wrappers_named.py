"""Modules with one logit for two classes, or with a random forward: every door refuses them and names the wrapper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import REGISTERED
from robustbench_ekdaa.data import import_dataset
from robustbench_ekdaa.errors import UsageError

from ..support.external_models import imported

SOURCE = """
import torch
from torch import nn

import robustbench_ekdaa as rb


class Noisy(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.out = nn.Linear(64, classes)

    def forward(self, images):
        return self.out(nn.functional.dropout(images.flatten(1), 0.5))


def one_logit(image_shape=None, classes=2):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


def flat(image_shape=None, classes=2):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))


def noisy(image_shape=None, classes=2):
    return Noisy(classes)
"""
EXTERNAL = """
kind = "model"
name = "theirs"
[external]
factory = "nets.py:{make}"
weights = "theirs.safetensors"
seeds = [0]
rule = "theirs"
"""
TRAINED = """
kind = "model"
name = "ours"
rule = "backprop"
[network]
factory = "nets.py:{make}"
[training.default]
epochs = 1
learning_rate = 0.1
"""
NAMED = {
    "one_logit": r"robustbench_ekdaa\.two_classes\(module\)",
    "flat": r"robustbench_ekdaa\.two_classes\(module\)",
    "noisy": r"robustbench_ekdaa\.averaged\(module, draws=16\)",
}
SPEC = {"datasets": ["ones"], "attacks": ["fgsm"], "epsilons": [0.1], "seeds": 1, "images": 20}


@pytest.fixture
def folder(tmp_path, monkeypatch, digits):
    """A workspace with factories, and the digits 0 and 1 as a data set of two classes."""
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(tmp_path / "data"))
    arrays = {}
    for half, split in (("train", digits.train), ("test", digits.test)):
        some = split.labels < 2
        arrays[f"{half}_images"] = (split.images[some][:, 0] * 240).byte().numpy()
        arrays[f"{half}_labels"] = split.labels[some].numpy()
    np.savez(tmp_path / "ones.npz", **arrays)
    import_dataset(tmp_path / "ones.npz", "ones")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "nets.py").write_text(SOURCE)
    yield tmp_path
    REGISTERED.clear()


def made(folder, make):
    torch.manual_seed(0)
    return getattr(imported(folder / "models" / "nets.py"), make)()


def registered(folder, make):
    rb.register_model("mine", made(folder, make), rule="mine")
    rb.sweep(rb.SweepSpec(models=["mine"], **SPEC), folder / "run", workspace=folder)


def external(folder, make):
    save_file(made(folder, make).state_dict(), folder / "models" / "theirs.safetensors")
    (folder / "models" / "theirs.toml").write_text(EXTERNAL.format(make=make))
    rb.sweep(rb.SweepSpec(models=["theirs"], **SPEC), folder / "run", workspace=folder)


def scored(folder, make):
    rb.register_model("mine", made(folder, make), rule="mine")
    images = rb.load_dataset("ones", "test").images[:20]
    np.savez(folder / "made.npz", images=images.numpy(), epsilons=[0.1], norm="linf")
    rb.score(folder / "made.npz", "ones", ["mine"], folder / "run", seeds=1, workspace=folder)


def trained(folder, make):
    (folder / "models" / "ours.toml").write_text(TRAINED.format(make=make))
    rb.train("ours", "ones", run=folder / "run", workspace=folder)


@pytest.mark.parametrize("make", NAMED)
@pytest.mark.parametrize("door", [registered, external, scored, trained])
def test_a_module_that_has_to_be_wrapped_is_refused_before_anything_runs(folder, door, make):
    with pytest.raises(UsageError, match=NAMED[make]) as caught:
        door(folder, make)
    assert "\n" not in str(caught.value)
    assert not (folder / "run").exists()


@pytest.mark.parametrize("make", ["one_logit", "flat"])
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 1]])
@pytest.mark.parametrize("attack", ["fgsm", "deepfool_linf", "square"])
def test_an_attack_refuses_one_logit_and_names_the_wrapper(folder, make, labels, attack):
    images = rb.load_dataset("ones", "test").images[:3]
    with pytest.raises(UsageError, match=NAMED[make]):
        rb.craft(attack, made(folder, make), images, torch.tensor(labels), [0.1])
    found = rb.craft("fgsm", rb.two_classes(made(folder, make)), images, torch.tensor(labels), [0.1])
    assert float((found[0] - images).abs().max()) == pytest.approx(0.1)


def test_an_attack_on_a_random_forward_warns_and_names_the_wrapper(folder):
    images = rb.load_dataset("ones", "test").images[:3]
    with pytest.warns(UserWarning, match=NAMED["noisy"]):
        rb.craft("fgsm", made(folder, "noisy"), images, torch.tensor([0, 1, 0]), [0.1])


def test_a_wrapped_module_takes_part(folder):
    rb.register_model("one", rb.two_classes(made(folder, "one_logit")), rule="mine")
    rb.register_model("drawing", rb.averaged(made(folder, "noisy"), draws=2), rule="mine")
    results = rb.sweep(rb.SweepSpec(models=["one", "drawing"], **SPEC), folder / "run", workspace=folder)
    assert set(results.frame()["target"]) == {"one", "drawing"}


def test_a_model_that_turns_out_to_be_random_in_a_sweep_is_refused_with_the_wrapper_named():
    from robustbench_ekdaa.scoring.jobs import check_steady

    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5)).train()
    with pytest.raises(UsageError, match=NAMED["noisy"]):
        check_steady("mine", module, torch.rand(4, 1, 8, 8))
