"""How maps lie in memory changes the speed of a rule, not what it computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.contract.bench import BENCH_NETWORKS, all_parameters, batch, fresh_network
from robustbench_ekdaa.networks.memory_format import put_at, values_at
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.registry import RULES

FORMATS = [torch.contiguous_format, torch.channels_last]


def gradients(make, spec, digits, memory_format):
    rule = make()
    network = fresh_network(spec, digits).double().to(memory_format=memory_format)
    rule.bind(network, keyed_generator(0, "feedback"))
    images, labels = batch(digits, dtype=torch.float64)
    rule.compute_gradients(images.to(memory_format=memory_format), labels)
    rule.after_step()
    return {name: parameter.grad for name, parameter in all_parameters(rule).items() if parameter.grad is not None}


@pytest.mark.parametrize("network", [name for name, spec in BENCH_NETWORKS.items() if len(spec.blocks) > 1])
@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_computes_the_same_with_channels_last(digits, name, network):
    try:
        usual, last = (gradients(RULES.get(name), BENCH_NETWORKS[network], digits, one) for one in FORMATS)
    except UsageError as refusal:
        pytest.skip(str(refusal))
    assert usual.keys() == last.keys()
    for key, gradient in usual.items():
        torch.testing.assert_close(last[key], gradient, rtol=1e-9, atol=1e-12, msg=key)


@settings(max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(2, 9)] * 2),
    size=st.integers(1, 3),
    memory_format=st.sampled_from(FORMATS),
)
def test_values_at_the_maxima_are_taken_and_put_back_where_torchs_unpooling_puts_them(shape, size, memory_format):
    size = min(size, *shape[2:])
    maps = torch.rand(shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=memory_format)
    pooled, positions = functional.max_pool2d(maps, size, return_indices=True)
    assert torch.equal(values_at(maps, positions), pooled)
    back = put_at(pooled, positions, maps.shape)
    assert torch.equal(back, functional.max_unpool2d(pooled, positions, size, output_size=maps.shape[2:]))
