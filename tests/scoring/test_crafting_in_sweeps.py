"""Crafting as a sweep does it: no batch matters, no setting of PyTorch, and what makes no sense is told before."""

import numpy as np
import pytest
import torch

from robustbench_ekdaa.analysis.checks import findings
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.networks.activations import ACTIVATIONS, Activation
from robustbench_ekdaa.scoring.imported import ImportSpec, score_images
from robustbench_ekdaa.scoring.plan import plan_sweep
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run

from ..support.kept_lines import Lines
from ..support.quick_models import write_card
from ..support.stored_runs import facts


def test_admix_and_its_kind_give_the_same_answers_in_batches_of_any_size(tmp_path, workspace, spec):
    narrow = {"models": ("quick_bp",), "attacks": ("admix", "di_ti_mi_fgsm"), "images": 30, "epsilons": (0.0, 0.2)}
    told = []
    for size in (30, 7):
        sized = spec.model_copy(update={**narrow, "seeds": 1, "batch_size": size})
        run_sweep(sized, tmp_path / f"run{size}", workspace=workspace)
        told.append(facts(tmp_path / f"run{size}"))
    assert told[0] == told[1]


def test_a_sweep_s_results_are_the_same_whatever_pytorch_was_told_before(tmp_path, workspace, spec):
    narrow = spec.model_copy(update={"attacks": ("pgd", "emi_fgsm", "noise"), "seeds": 1, "epsilons": (0.0, 0.2)})
    run_sweep(narrow, tmp_path / "usual", workspace=workspace)
    usual = facts(tmp_path / "usual")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            run_sweep(narrow, tmp_path / "other", workspace=workspace)
    finally:
        torch.set_default_dtype(torch.float32)
    assert facts(tmp_path / "other") == usual


@pytest.mark.parametrize(("attack", "largest"), [("fgsm", 1), ("fgsm_l2", 8), ("fgsm_l1", 64), ("ddn_l2", 8)])
def test_an_epsilon_beyond_all_images_is_refused_before_anything_is_done(tmp_path, workspace, spec, attack, largest):
    at_most = spec.model_copy(update={"attacks": (attack,), "epsilons": (0.0, float(largest))})
    assert plan_sweep(at_most, workspace, load_dataset("digits")).attacks
    beyond = at_most.model_copy(update={"epsilons": (0.0, largest * 1.01)})
    with pytest.raises(
        UsageError, match=f"attack {attack}: epsilon .* is too large: from black to white is {largest} in"
    ):
        run_sweep(beyond, tmp_path / "run", workspace=workspace)
    assert not (tmp_path / "run").exists()


def test_a_file_s_epsilon_beyond_all_images_is_refused_before_anything_is_done(tmp_path, workspace):
    images = load_dataset("digits").test.images[:5].numpy()
    np.savez(tmp_path / "mine.npz", images=images, indices=np.arange(5), epsilon=5.0, norm="linf")
    request = ImportSpec(file=tmp_path / "mine.npz", dataset="digits", models=("quick_bp",), seeds=1)
    with pytest.raises(UsageError, match=r"mine\.npz: epsilon 5 is too large: from black to white is 1 in linf"):
        score_images(request, tmp_path / "run", workspace=workspace)
    assert not (tmp_path / "run").exists()


def test_a_kernel_too_large_for_the_images_is_told_in_the_sweep_and_in_the_report(tmp_path, workspace, spec):
    both = spec.model_copy(update={"attacks": ("ti_fgsm", "ti_fgsm_15"), "epsilons": (0.0, 0.1), "seeds": 1})
    lines = Lines()
    run_sweep(both, tmp_path / "run", workspace=workspace, progress=lines)
    (warning,) = [line for line in lines.lines if line.startswith("warning: ")]
    assert warning.startswith("warning: ti_fgsm_15: its kernel of 15 pixels is larger than half the 8 x 8 image")
    outcomes = open_run(tmp_path / "run")
    told = [one.meaning for one in findings(outcomes[0]) if "kernel" in one.meaning]
    assert [one.partition(":")[0] for one in told] == ["TI-FGSM (15 pixels)"]


def test_a_model_whose_forward_is_random_is_refused_by_name(tmp_path, workspace, spec, monkeypatch):
    noisy = Activation(lambda h: h + 0.1 * torch.randn_like(h), lambda h, z: torch.ones_like(h))
    monkeypatch.setitem(ACTIVATIONS, "noisy", noisy)
    write_card(tmp_path, "quick_noisy", "backprop")
    card = tmp_path / "models" / "quick_noisy.toml"
    card.write_text(card.read_text().replace('pool = "max"', 'pool = "max", activation = "noisy"'))
    asked = spec.model_copy(update={"models": ("quick_noisy",), "seeds": 1})
    with pytest.raises(UsageError, match=r"^quick_noisy on digits, seed 0: answers the same images differently"):
        run_sweep(asked, tmp_path / "run", workspace=type(workspace)(tmp_path))
