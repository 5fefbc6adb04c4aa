"""Threat models against their definitions, written out with NumPy and solved by SciPy."""

import numpy as np
import pytest
import scipy.optimize
import torch

from robustbench_ekdaa.crafting.threat import THREATS, check_epsilons, unit
from robustbench_ekdaa.errors import UsageError

NORMS = sorted(THREATS)
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
SHAPE = (2, 2, 3)  # channels, rows, columns: all different from a batch's five
PIXELS = 12


def draws(seed, count=5, low=0.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPE, generator=generator) * (high - low) + low


def rows(images):
    return images.double().reshape(len(images), -1).numpy()


@pytest.mark.parametrize("norm", NORMS)
def test_the_size_of_a_perturbation_is_its_norm_over_all_pixels_and_channels(norm):
    moved = draws(0, low=-1)
    expected = np.linalg.norm(rows(moved), ord=ORDER[norm], axis=1)
    np.testing.assert_allclose(THREATS[norm].size(moved), expected, rtol=1e-6)
    assert THREATS[norm].of_ones(PIXELS) == pytest.approx(np.linalg.norm(np.ones(PIXELS), ord=ORDER[norm]))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("norm", NORMS)
def test_the_memory_layout_changes_no_size_and_no_projection(norm, memory_format):
    clean, images = draws(1), draws(2, low=-0.5, high=1.5)
    threat, laid_out = THREATS[norm], images.contiguous(memory_format=memory_format)
    torch.testing.assert_close(threat.size(laid_out), threat.size(images), rtol=1e-6, atol=0)
    torch.testing.assert_close(threat.project(laid_out, clean, 0.4), threat.project(images, clean, 0.4))


def test_the_l2_projection_brings_back_along_the_line_to_the_clean_image():
    clean, epsilon = draws(3, low=0.45, high=0.55), 0.3  # far from black and white, so that nothing is clipped
    outside = draws(4, low=-1)
    away = rows(outside) - rows(clean)
    expected = rows(clean) + epsilon * away / np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(rows(THREATS["l2"].project(outside, clean, epsilon)), expected, atol=1e-6)


def test_the_l1_projection_is_the_nearest_point_of_the_ball():
    clean, epsilon = draws(5, low=0.45, high=0.55), 0.4
    outside = draws(6, low=-0.5, high=1.5)
    found = rows(THREATS["l1"].project(outside, clean, epsilon) - clean)
    for away, nearest in zip(rows(outside - clean), found, strict=True):
        # The shrinkage t of soft thresholding that leaves an l1 norm of epsilon, by bisection.
        excess = lambda t, away=away: np.maximum(np.abs(away) - t, 0).sum() - epsilon  # noqa: E731
        t = scipy.optimize.brentq(excess, 0, np.abs(away).max())
        np.testing.assert_allclose(nearest, np.sign(away) * np.maximum(np.abs(away) - t, 0), atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_what_lies_in_ball_and_box_is_projected_on_itself_and_epsilon_zero_leaves_the_clean_image(norm):
    clean = draws(7)
    inside = (clean + draws(8, low=-0.02, high=0.02)).clamp(0, 1)
    threat = THREATS[norm]
    torch.testing.assert_close(threat.project(inside, clean, 1.0), inside, rtol=0, atol=1e-6)
    torch.testing.assert_close(threat.project(clean, clean, 0.5), clean, rtol=0, atol=0)
    torch.testing.assert_close(threat.project(draws(9), clean, 0.0), clean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_projection_lies_in_the_box_and_no_nearer_than_the_ball_s_edge_demands(norm):
    clean, outside, epsilon = draws(10), draws(11, low=-2, high=3), 0.5
    threat = THREATS[norm]
    found = threat.project(outside, clean, epsilon)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert float(threat.size(found - clean).max()) <= epsilon + 1e-5
    middle = torch.full_like(clean, 0.5)  # where the box cuts nothing off the ball, the edge is reached
    sizes = threat.size(threat.project(outside, middle, 0.4) - middle)
    torch.testing.assert_close(sizes, torch.full((5,), 0.4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_rises_as_far_as_the_dual_norm_allows(norm):
    images, slope, length = torch.full((5, *SHAPE), 0.5), draws(12, low=-1), 0.3
    step = THREATS[norm].ascend(images, slope, length) - images
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    rise = (rows(step) * rows(slope)).sum(1)
    np.testing.assert_allclose(rise, length * np.linalg.norm(rows(slope), ord=dual, axis=1), rtol=1e-5)
    np.testing.assert_allclose(THREATS[norm].size(step), length, rtol=1e-5)


def test_the_l1_step_is_the_best_of_all_steps_that_stay_in_the_box():
    images, slope, length = draws(13), draws(14, low=-1), 1.7
    slope[:, 0, 0, 0] = 0
    step = rows(THREATS["l1"].ascend(images, slope, length) - images)
    for x, g, taken in zip(rows(images), rows(slope), step, strict=True):
        # The step split into what is added and what is taken away makes a linear programme.
        best = scipy.optimize.linprog(
            np.concatenate([-g, g]),
            A_ub=np.ones((1, 2 * PIXELS)),
            b_ub=[length],
            bounds=[*((0, 1 - value) for value in x), *((0, value) for value in x)],
        )
        assert float(g @ taken) == pytest.approx(-best.fun, rel=1e-5)
        assert np.abs(taken).sum() <= length + 1e-5
        assert taken[0] == 0


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_moves_where_the_direction_is_zero_and_a_tiny_one_counts_like_a_large_one(norm):
    images, slope = torch.full((2, *SHAPE), 0.5), draws(15, count=1, low=-1)
    tiny = torch.cat([torch.zeros_like(slope), slope * 1e-30])
    moved = THREATS[norm].ascend(images, tiny, 0.2) - images
    assert float(moved[0].abs().max()) == 0
    expected = THREATS[norm].ascend(images[1:], slope, 0.2) - images[1:]
    torch.testing.assert_close(moved[1:], expected, rtol=1e-4, atol=1e-6)


def test_a_unit_vector_has_length_one_and_its_direction_whatever_its_size():
    direction = torch.cat([draws(16, count=1, low=-1)] * 3)
    direction[1] *= 1e-30
    direction[2] *= 1e30
    expected = rows(direction[:1]) / np.linalg.norm(rows(direction[:1]))
    np.testing.assert_allclose(rows(unit(direction)), np.repeat(expected, 3, axis=0), rtol=1e-5)
    assert not bool(unit(torch.zeros(1, *SHAPE)).any())


@pytest.mark.parametrize("norm", NORMS)
def test_epsilon_may_be_as_large_as_black_is_from_white_and_no_larger(norm):
    limit = float(np.linalg.norm(np.ones(PIXELS), ord=ORDER[norm]))
    check_epsilons(norm, SHAPE, [0.0, limit / 2, limit], "here")
    for epsilons in ([limit * 1.001], [0.1, limit * 2]):
        with pytest.raises(UsageError, match=rf"^here: epsilon {epsilons[-1]:g} is too large.* is {limit:g} in {norm}"):
            check_epsilons(norm, SHAPE, epsilons, "here")
