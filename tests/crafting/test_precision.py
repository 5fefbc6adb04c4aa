"""Crafting with layers in bfloat16: images stay float32 and in their ball, and fool nearly as well."""

from __future__ import annotations

import pytest
import torch

from robustbench_ekdaa.crafting import craft


@pytest.mark.parametrize("name", ["fgsm", "mi_fgsm", "pgd_l2"])
def test_bfloat16_layers_give_float32_images_in_the_ball_that_fool_nearly_as_well(attacks, case, name):
    module, images, labels = case
    attack, epsilon = attacks.attacks[name], 0.8 if name.endswith("l2") else 0.1
    exact, mixed = (
        next(craft(attack, [module], images, labels, [epsilon], precision=precision)).images
        for precision in ("float32", "bfloat16")
    )
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, exact)
    sizes = (mixed - images).flatten(1)
    size = sizes.norm(dim=1).max() if attack.norm == "l2" else sizes.abs().max()
    assert float(size) <= epsilon * (1 + 1e-5) + 1e-6
    fooled = [float((module(each).argmax(1) != labels).float().mean()) for each in (exact, mixed)]
    assert fooled[1] > fooled[0] - 0.1


def test_the_caller_s_gradient_mode_changes_nothing(attacks, case):
    module, images, labels = case
    bim = attacks.attacks["bim"]
    expected = next(craft(bim, [module], images, labels, [0.1])).images
    with torch.no_grad():
        assert torch.equal(next(craft(bim, [module], images, labels, [0.1])).images, expected)
    with torch.inference_mode():
        assert torch.equal(next(craft(bim, [module], images * 1, labels * 1, [0.1])).images, expected)
        assert torch.is_inference_mode_enabled()
