"""What crafting is given in Python is checked as the command line's is: taken, or refused by name in one line."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.crafting import Pool, build_attempt, craft
from robustbench_ekdaa.errors import UsageError


@pytest.fixture(scope="module")
def few(make_network, digits):
    return make_network(1), digits[0][:4], digits[1][:4]


def refusal(few, **options) -> str:
    module, images, labels = few
    given = {"attack": "mi_fgsm", "surrogates": module, "images": images, "labels": labels, "epsilons": [0.1]} | options
    with pytest.raises(UsageError) as caught:
        rb.craft(**given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "epsilons",
    [
        [np.float32(0.1)],
        [np.float64(0.1)],
        [np.float16(0.1)],
        [torch.tensor(0.1)],
        [torch.tensor(0.1, dtype=torch.bfloat16)],
        ["0.1"],
        ["1/10"],
        "0.1",
        [Fraction(1, 10)],
        np.array([0.1], np.float32),
        torch.tensor([0.1]),
        (0.1,),
    ],
    ids=repr,
)
def test_epsilons_of_any_kind_are_one_number(few, epsilons):
    module, images, labels = few
    expected = rb.craft("mi_fgsm", module, images, labels, [0.1])
    assert torch.equal(rb.craft("mi_fgsm", module, images, labels, epsilons), expected)
    (one,) = craft(rb.Workspace().attacks["mi_fgsm"], [module], images, labels, epsilons)
    assert one.epsilon == 0.1


@pytest.mark.parametrize(
    ("epsilons", "message"),
    [
        (None, "epsilons must be a list of epsilons (got None)"),
        (0.1, "epsilons must be a list of epsilons (got 0.1)"),
        (np.float32(0.1), "epsilons must be a list of epsilons"),
        (torch.tensor(0.1), "epsilons must be a list of epsilons"),
        ([], "epsilons must be a list of one or more"),
        ([True], "epsilons: an epsilon must be a number"),
        (["8/0"], "epsilons: an epsilon must be a number"),
        (["a"], "epsilons: an epsilon must be a number"),
        ([float("nan")], "epsilons: an epsilon must be a number"),
        ([float("inf")], "epsilons: an epsilon must be a number"),
        ([-0.1], "epsilons: an epsilon must not be negative"),
        ([0.1j], "epsilons: an epsilon must be a number"),
        ([[0.1]], "epsilons: an epsilon must be a number"),
        ("0,05", "looks like decimals with a comma"),
    ],
)
def test_what_is_no_list_of_epsilons_is_refused(few, epsilons, message):
    assert message in refusal(few, epsilons=epsilons)


@pytest.mark.parametrize(("attack", "largest"), [("bim", 1), ("bim_l2", 8), ("bim_l1", 64), ("deepfool_linf", 1)])
def test_an_epsilon_beyond_all_images_is_refused_and_the_largest_one_is_not(few, attack, largest):
    module, images, labels = few
    assert rb.craft(attack, module, images, labels, [largest]).shape == (1, *images.shape)
    message = refusal(few, attack=attack, epsilons=[0, 0.1, largest * 1.001])
    assert message.startswith(
        f"{attack}: epsilon {largest * 1.001:g} is too large: from black to white is {largest} in"
    )


def test_the_largest_epsilon_of_l2_is_not_lost_to_rounding(few):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 7 * 5, 10))
    images, labels = torch.full((1, 3, 7, 5), 0.5), torch.tensor([0])
    assert rb.craft("fgsm_l2", module, images, labels, [105**0.5]).shape == (1, 1, 3, 7, 5)


@pytest.mark.parametrize("seed", [1, np.int64(1), np.uint8(1), torch.tensor(1), np.array(1)], ids=repr)
def test_a_whole_number_of_any_type_is_one_seed(few, seed):
    module, images, labels = few
    expected = rb.craft("pgd", module, images, labels, [0.1], 1)
    assert torch.equal(rb.craft("pgd", module, images, labels, [0.1], seed), expected)


@pytest.mark.parametrize("seed", [True, 1.0, "1", None, np.float32(1), torch.tensor(1.0), np.True_, -1], ids=repr)
def test_what_is_no_whole_number_is_no_seed_and_no_index(few, seed):
    assert refusal(few, seed=seed).startswith("seed: must be")
    assert refusal(few, indices=[0, 1, 2, seed]).startswith("indices: must be")


@pytest.mark.parametrize("indices", [np.arange(4), torch.arange(4), range(4), (0, 1, 2, 3), iter([0, 1, 2, 3])])
def test_indices_may_be_of_any_integer_type(few, indices):
    module, images, labels = few
    expected = rb.craft("pgd", module, images, labels, [0.1])
    assert torch.equal(rb.craft("pgd", module, images, labels, [0.1], indices=indices), expected)


@pytest.mark.parametrize("precision", ["float16", "bf16", "float64", "", None, torch.bfloat16, "Float32"], ids=repr)
def test_a_precision_of_another_name_is_refused_and_not_float32(few, precision):
    assert refusal(few, precision=precision).startswith("precision must be 'float32' or 'bfloat16' (got ")


def test_the_pool_is_checked_as_the_images_are(few):
    _, images, labels = few

    def pooled(*pool) -> str:
        return refusal(few, attack="admix", pool=pool)

    assert "the pool's images must lie in [0, 1]" in pooled(images * 255, labels)
    assert "the pool's images must lie in [0, 1]" in pooled(images - 0.5, labels)
    assert "the pool's images must lie in [0, 1]" in pooled(images * float("nan"), labels)
    assert "the pool's images must be float32 of shape (N, C, H, W)" in pooled(images.double(), labels)
    assert "the pool's images must be float32 of shape (N, C, H, W)" in pooled(images[0], labels)
    assert "must be as the images are, (1, 8, 8) on cpu (got (3, 8, 8) on cpu)" in pooled(
        images.expand(-1, 3, -1, -1), labels
    )
    assert "the pool's labels must be int64 of shape (4,)" in pooled(images, labels[:2])
    assert "the pool's labels must be int64 of shape (4,)" in pooled(images, labels.float())
    assert "the pool's labels must not be negative" in pooled(images, labels - 10)
    assert "the pool must hold at least one image" in pooled(images[:0], labels[:0])
    assert "the pool's images must be a torch.Tensor (got ndarray)" in pooled(images.numpy(), labels)
    assert "the pool must be a pair of images and labels (got tuple)" in pooled(images)
    assert "the pool must be a pair of images and labels (got Tensor)" in refusal(few, attack="admix", pool=images)


def test_a_pool_is_checked_once_for_many_batches(few):
    module, images, labels = few
    pool, attack = Pool(images, labels), rb.Workspace().attacks["admix"]
    found = [
        next(craft(attack, [module], images, labels, [0.1], pool=each)).images for each in (pool, (images, labels))
    ]
    assert torch.equal(*found)
    with pytest.raises(UsageError, match="at least one image"):
        Pool(images[:0], labels[:0])


@pytest.mark.parametrize("wrong", ["numpy", "list", "None"])
@pytest.mark.parametrize("name", ["images", "labels", "targets"])
def test_what_is_no_tensor_is_refused_by_name(few, name, wrong):
    tensor = few[1] if name == "images" else few[2] if name == "labels" else (few[2] + 1) % 10
    value = {"numpy": tensor.numpy(), "list": tensor.tolist(), "None": None}[wrong]
    if name == "targets" and value is None:
        pytest.skip("None stands for those the card chooses")
    assert refusal(few, attack="mi_fgsm_targeted", **{name: value}).startswith(f"{name} must be a torch.Tensor (got ")


@pytest.mark.parametrize("name", ["images", "labels", "targets"])
def test_tensors_that_hold_no_numbers_are_refused_by_name(few, name):
    tensor = few[1] if name == "images" else (few[2] + 1) % 10
    for value in (tensor.to("meta"), tensor.to_sparse()):
        message = refusal(few, attack="mi_fgsm_targeted", **{name: value})
        assert message.startswith(f"{name} must be a dense tensor that holds numbers")


@pytest.mark.parametrize("requires_grad", [True, False])
def test_images_that_are_part_of_a_graph_are_taken_and_the_result_is_apart_from_it(few, requires_grad):
    module, images, labels = few
    images = images.clone().requires_grad_(requires_grad)
    found = rb.craft("mi_fgsm", module, images, labels, [0, 0.1])
    assert not found.requires_grad
    assert images.grad is None
    assert torch.equal(found, rb.craft("mi_fgsm", module, images.detach(), labels, [0, 0.1]))


def test_images_of_another_memory_layout_give_the_same_images(few):
    module, images, labels = few
    expected = rb.craft("mi_fgsm", module, images, labels, [0.1])
    for other in (images.transpose(2, 3).contiguous().transpose(2, 3), images.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(rb.craft("mi_fgsm", module, other, labels, [0.1]), expected, rtol=0, atol=1e-6)
    same = images[:1].expand(4, -1, -1, -1)  # four images in the memory of one
    assert rb.craft("mi_fgsm", module, same, labels, [0.1]).shape == (1, 4, 1, 8, 8)


@pytest.mark.parametrize("size", ["side/5", "side / 0", "5 / side", "side / 2.", "", 4, 0, 5.5])
def test_a_kernel_s_size_is_odd_or_a_share_of_the_side(card, size):
    with pytest.raises(UsageError, match=r"gradient\.0.*size"):
        build_attempt(card(gradient=[{"component": "kernel_smoothing", "size": size}]))


def test_what_is_right_makes_no_warning(few):
    module, images, labels = few
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("fgsm", "ti_fgsm", "di_mi_fgsm", "admix", "di_ti_mi_fgsm"):
            rb.craft(name, module, images, labels, [0.1])
