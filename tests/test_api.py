"""The Python interface."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError, WorkFailed

from .support.quick_models import write_card


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, robustbench_ekdaa; print([name for name in ('torch', 'pandas', 'art') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_every_public_name_is_there():
    assert all(getattr(rb, name) is not None for name in rb.__all__)
    assert set(rb.__all__) <= set(dir(rb))
    with pytest.raises(AttributeError, match=r"attribute '?swep"):
        rb.swep  # noqa: B018


def test_the_whole_job_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_card(tmp_path, "quick_bp", "backprop")
    write_card(tmp_path, "quick_ekdaa", "ekdaa")
    test = rb.load_dataset("digits", "test", 30)
    assert test.images.shape == (30, 1, 8, 8)
    record = rb.train("quick_ekdaa", "digits", seed=0, run="run")
    assert record.metrics["test_accuracy"] > 0.2  # two short epochs; chance is 0.1
    model = rb.load_model("quick_ekdaa", "digits", seed=0, run="run")
    assert isinstance(model, nn.Module)
    adversarial = rb.craft("fgsm", model, test.images, test.labels, [0, 0.1, 0.2])
    assert adversarial.shape == (3, 30, 1, 8, 8)
    assert torch.equal(adversarial[0], test.images)
    spec = rb.SweepSpec(
        datasets=["digits"], models=["quick_bp", "quick_ekdaa"], attacks=["fgsm"], epsilons=[0, 0.2], images=40, seeds=1
    )
    results = rb.sweep(spec.model_copy(update={"save_images": True}), "run")
    assert len(results.frame()) == 2 * 2 * 2
    file = next(Path("run/adversarial").iterdir())
    saved = rb.load_adversarial(file)
    assert saved.images.shape == (1, 40, 1, 8, 8)
    scored = rb.score(file, "digits", ["quick_bp"], "run", seeds=1, name="mine").frame()
    assert len(scored.query("attack == 'mine'")) == 1 * 2
    assert len(rb.open_results("run").summary()) == 2
    assert rb.plot_curves(results).axes
    assert rb.plot_transfer_matrix(results).axes


def test_an_attack_runs_on_any_module_and_leaves_it_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 4), nn.Dropout(0.5)).train()
    images, labels = torch.rand(5, 3, 3, 3), torch.arange(5) % 4
    (one,) = rb.craft("bim", model, images, labels, [0.1])
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert (one - images).abs().max() <= 0.1 + 1e-6


class Sign(torch.nn.Module):
    def forward(self, images):
        return images.sign()


def test_an_attack_without_a_gradient_warns_that_nothing_was_learned():
    images, labels = rb.load_dataset("digits", limit=4).images, torch.zeros(4, dtype=torch.int64)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), Sign(), torch.nn.Linear(8, 10))
    with pytest.warns(UserWarning, match="bim: 4 of 8 images could not be attacked"):
        assert torch.equal(rb.craft("bim", model, images, labels, [0.0, 0.3])[1], images)


def test_images_crafted_in_parts_are_those_crafted_at_once():
    split = rb.load_dataset("digits", limit=6)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    whole = rb.craft("pgd", model, split.images, split.labels, [0.1])
    parts = [
        rb.craft("pgd", model, split.images[part], split.labels[part], [0.1], indices=part)
        for part in ([0, 1], [2, 3, 4, 5])
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-6)
    for size in (1, 4, 6, 100):
        found = rb.craft("pgd", model, split.images, split.labels, [0, 0.1], batch_size=size)
        torch.testing.assert_close(found[1:], whole, rtol=0, atol=1e-6)
        assert torch.equal(found[0], split.images)
    mixed = rb.craft("fgsm", model, split.images, split.labels, [0.1], precision="bfloat16")
    assert mixed.dtype == torch.float32


@pytest.mark.parametrize("name", ["admix", "mi_fgsm_targeted"])
def test_batches_share_pool_and_targets(name):
    split = rb.load_dataset("digits", limit=9)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    options = {"indices": list(range(20, 29))}
    if name == "mi_fgsm_targeted":
        options["targets"] = (split.labels + 3) % 10
    whole, parts = (
        rb.craft(name, model, split.images, split.labels, [0.1], batch_size=size, **options) for size in (None, 2)
    )
    assert float(((whole - parts).abs() < 1e-5).float().mean()) > 0.99


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
def test_a_batch_size_is_a_whole_number_from_one_up(size):
    split = rb.load_dataset("digits", limit=2)
    with pytest.raises(UsageError, match="batch_size"):
        rb.craft("noise", [], split.images, split.labels, [0.1], batch_size=size)


@pytest.mark.parametrize("epsilons", [[], 0.1])
def test_epsilons_are_a_list(epsilons):
    split = rb.load_dataset("digits", limit=2)
    with pytest.raises(UsageError, match="epsilons must be a list"):
        rb.craft("fgsm", torch.nn.Flatten(), split.images, split.labels, epsilons)


def test_a_model_that_was_never_trained_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match=r"there is no such file\. Train backprop on digits, seed 0 first"):
        rb.load_model("backprop", "digits", run=tmp_path)


def test_a_diverging_training_raises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    with pytest.raises(WorkFailed, match=r"wild \(seed 0\) diverged"):
        rb.train("wild", "digits", run="run")
