"""Pooling for scoring alone: the same values as PyTorch's, by another way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from robustbench_ekdaa.networks.network import Pooling


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)),
    last=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_what_pooling_says_without_gradients_is_what_pytorch_says(shape, last, seed):
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).round(decimals=1)  # with ties
    maps[0, 0, 0, 0] = torch.nan
    maps = maps.contiguous(memory_format=torch.channels_last) if last else maps
    ours, theirs = Pooling("max", 2, 2).pool(maps), functional.max_pool2d(maps, 2, 2)
    assert torch.equal(ours.nan_to_num(9), theirs.nan_to_num(9))
    assert ours.is_contiguous(memory_format=torch.channels_last) or not last
    if not last:
        assert ours.stride() == theirs.stride()


@pytest.mark.parametrize("pooling", [Pooling("max", 2, 2), Pooling("max", 3, 2), Pooling("average", 2, 2)])
def test_gradients_go_where_pytorch_sends_them_also_where_values_are_equal(pooling):
    maps = torch.zeros(2, 3, 7, 7, requires_grad=True)
    reference = functional.max_pool2d if pooling.kind == "max" else functional.avg_pool2d
    sent = torch.autograd.grad(pooling.pool(maps).sum(), maps)[0]
    assert torch.equal(sent, torch.autograd.grad(reference(maps, pooling.size, pooling.stride).sum(), maps)[0])
    with torch.no_grad():
        assert torch.equal(pooling.pool(maps), reference(maps, pooling.size, pooling.stride))
