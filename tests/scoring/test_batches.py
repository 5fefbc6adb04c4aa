"""How many images are computed at a time, and that it is recorded."""

import pytest
import torch
from torch import nn

from robustbench_ekdaa.cards import NetworkSpec, SweepSpec
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.scoring.batches import fitting_batch
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run

from ..support.stored_runs import facts

MIB = 1024**2


def network(shape, preset="small_cnn"):
    return build_network(NetworkSpec(preset=preset), shape, 10, keyed_generator(0, "weights")).eval()


@pytest.mark.parametrize(("shape", "expected"), [((1, 8, 8), 250), ((1, 28, 28), 160), ((3, 32, 32), 128)])
def test_the_largest_map_of_a_batch_takes_8_mib_at_most(shape, expected):
    largest = 16 * shape[1] * shape[2] * 4  # bytes of the first convolution's sixteen maps
    assert expected == min(250, 8 * MIB // largest // 32 * 32)
    assert fitting_batch([network(shape)], torch.rand(3, *shape)) == expected


def test_the_network_with_the_largest_maps_decides():
    images = torch.rand(1, 1, 28, 28)
    wide = fitting_batch([network((1, 28, 28), "wide_cnn")], images)
    assert wide < 160
    assert fitting_batch([network((1, 28, 28)), network((1, 28, 28), "wide_cnn")], images) == wide
    assert fitting_batch([], images) == 250


class Several(nn.Module):
    """A module that returns more than one tensor, inside a network with very large maps."""

    def __init__(self):
        super().__init__()
        self.part, self.seen = nn.Conv2d(3, 64, 3, padding=1), 0

    def forward(self, images):
        self.seen += len(images)
        return self.part(images), 1


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.several = Several()

    def forward(self, images):
        return self.several(images)[0].mean((2, 3))[:, :10]


def test_a_network_of_any_making_is_looked_at_with_one_image_and_left_as_it_was():
    large = Large().eval()
    images = torch.rand(5, 3, 224, 224)
    assert fitting_batch([large], images) == 32  # one map takes 12 MiB: the least
    assert large.several.seen == 1
    assert not any(module._forward_hooks for module in large.modules())


def test_the_size_is_recorded_and_moves_no_outcome(tmp_path, workspace, spec):
    narrow = {"models": ("quick_bp",), "attacks": ("bim", "noise"), "seeds": 1, "epsilons": (0.0, 0.1)}
    for size in (None, 7):
        run = tmp_path / f"run_{size}"
        run_sweep(SweepSpec(**spec.model_dump() | narrow | {"batch_size": size}), run, workspace=workspace)
        (outcomes,) = open_run(run)
        assert {one["batch_size"] for one in outcomes.craftings.values()} == {size or 250}
    assert facts(tmp_path / "run_None") == facts(tmp_path / "run_7")
