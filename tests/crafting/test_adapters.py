"""Attacks of Foolbox and ART as cards, with the libraries themselves as witnesses."""

# ruff: noqa: NPY002 - the global generator of NumPy is what these tests are about

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import warnings

import foolbox
import numpy as np
import pytest
import torch
from torch import nn

from robustbench_ekdaa.crafting import build_attempt, craft
from robustbench_ekdaa.crafting.adapters.libraries import Library, Part, Shown, seeded_for_image, smallest_first
from robustbench_ekdaa.crafting.context import Task
from robustbench_ekdaa.crafting.surrogates import Surrogate
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.randomness import ImageDraws

from ..support.quick_attacks import EACH_ADAPTER, EPSILONS, WORKSPACE, quick

warnings.filterwarnings("ignore", message=".*matrix subclass.*")
TOLD_EPSILON = {"apgd_ce", "apgd_dlr", "apgd_t", "square"}


@pytest.fixture(scope="module")
def prey(make_network, digits):
    """A fitted network and six digits, one of which it gets wrong."""
    images, labels = digits
    module = make_network(1)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(images), labels).backward()
        optimiser.step()
    labels = labels[:6].clone()
    labels[5] = (labels[5] + 1) % 10
    return module.eval(), images[:6], labels


@pytest.mark.parametrize("name", EACH_ADAPTER)
def test_each_adapter_keeps_to_the_ball_and_fools_more_at_larger_epsilons(name, prey):
    module, images, labels = prey
    attack = quick(name)
    epsilons = EPSILONS[attack.norm]
    results = list(craft(attack, [module], images, labels, [0.0, *epsilons]))
    assert torch.equal(results[0].images, images)
    right = []
    for crafted in results:
        assert crafted.images.dtype == torch.float32
        assert float(crafted.images.min()) >= 0
        assert float(crafted.images.max()) <= 1
        size = THREATS[attack.norm].size(crafted.images - images)
        assert float(size.max()) <= crafted.epsilon * (1 + 1e-5) + 1e-6
        right.append(int((module(crafted.images).argmax(1) == labels).sum()))
    assert right[0] == 5
    assert right == sorted(right, reverse=True)
    assert results[-1].queries is not None
    assert right[-1] < 5


@pytest.mark.parametrize("name", EACH_ADAPTER)
def test_accuracy_at_epsilon_is_the_share_of_images_whose_smallest_perturbation_is_larger(name, prey):
    if name in TOLD_EPSILON:
        pytest.skip("is told epsilon, and looks for nothing smaller")
    module, images, labels = prey
    attack = quick(name)
    for crafted in craft(attack, [module], images, labels, np.linspace(0.1, 2, 8) * EPSILONS[attack.norm][1]):
        accuracy = float((module(crafted.images).argmax(1) == labels).float().mean())
        assert accuracy == float((crafted.smallest > crafted.epsilon).float().mean())
        assert crafted.smallest[5] == 0
        assert torch.equal(crafted.images[5], images[5])
        assert crafted.queries[5] == 0


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 12, 7)])
@pytest.mark.parametrize("name", EACH_ADAPTER)
def test_each_adapter_runs_on_images_that_are_not_square_grey_and_colour(
    name, shape, make_network, tmp_path, monkeypatch
):
    module, attack = make_network(shape[0]), quick(name)
    monkeypatch.chdir(tmp_path)
    images = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    epsilon = 4 * EPSILONS[attack.norm][1]
    crafted = next(craft(attack, [module], images, module(images).argmax(1), [epsilon]))
    assert crafted.images.shape == images.shape
    assert float(THREATS[attack.norm].size(crafted.images - images)) <= epsilon * (1 + 1e-5)
    assert list(tmp_path.iterdir()) == []  # ART's GeoDA would save its basis here


def generators():
    return random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()


def assert_generators_are(states) -> None:
    now = generators()
    assert now[0] == states[0]
    assert np.array_equal(now[1], states[1])
    assert torch.equal(now[2], states[2])


@pytest.mark.parametrize("name", EACH_ADAPTER)
def test_batching_changes_only_rounding_and_the_global_generators_are_left_alone(name, prey):
    module, images, labels = prey
    attack = quick(name)
    states = generators()
    epsilon = EPSILONS[attack.norm][1]
    together = next(craft(attack, [module], images[:3], labels[:3], [epsilon])).images
    assert_generators_are(states)
    for row in range(3):
        random.random(), np.random.rand(), torch.rand(1)
        alone = next(craft(attack, [module], images[[row]], labels[[row]], [epsilon], indices=[row])).images
        # Searches for a boundary make a little more of rounding than single steps do.
        assert float((alone - together[[row]]).abs().max()) < 1e-2


@pytest.mark.parametrize("name", EACH_ADAPTER)
def test_each_adapter_makes_the_same_images_again(name, prey):
    module, images, labels = prey
    attack = quick(name)
    far = 10 * EPSILONS[attack.norm][1]  # so that whatever is found is returned
    first, again = (next(craft(attack, [module], images[:3], labels[:3], [far])).images for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("name", "options"),
    [("HopSkipJump", {"max_iter": 1, "init_eval": 10}), ("BoundaryAttack", {"max_iter": 1})],
)
def test_art_s_generators_of_their_own_are_seeded_too(card, prey, name, options):
    # They start from an image that np.random.RandomState() draws, which nobody seeds.
    module, images, labels = prey
    attack = card(norm="l2", adapter={"component": "art", "attack": name, "options": options})
    first, again, other = (
        next(craft(attack, [module], images[:2], labels[:2], [100.0], seed=seed)).images for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_seeding_the_global_generators_is_undone():
    before = generators()
    drawn = []
    for _ in range(2):
        with seeded_for_image(0, "test", 3):
            drawn.append((random.random(), np.random.rand(), float(torch.rand(1))))
    assert drawn[0] == drawn[1]
    assert_generators_are(before)


def test_no_parameter_gradient_is_computed_through_a_library(prey):
    module, images, labels = prey
    computed = []
    handles = [parameter.register_hook(computed.append) for parameter in module.parameters()]
    for name in ("deepfool_l2", "apgd_ce"):
        next(craft(quick(name), [module], images, labels, [0.2]))
    for handle in handles:
        handle.remove()
    assert computed == []


# -- witnesses -------------------------------------------------------------------------------------------------------


def test_deepfool_finds_the_distance_to_the_boundary_of_a_linear_model(card):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(30, generator=generator)
    module = nn.Sequential(nn.Flatten(), nn.Linear(30, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([-weight, weight]) / 2)
        module[1].bias.fill_(0)
    images = torch.rand(20, 1, 6, 5, generator=generator) * 0.1 + 0.45
    score = images.flatten(1) @ weight
    labels = (score > 0).long()
    for norm, dual in (("l2", 2), ("linf", 1)):
        attack = WORKSPACE.attacks[f"deepfool_{norm}"]
        crafted = next(craft(attack, [module], images, labels, [1.0]))
        expected = score.abs() / weight.norm(p=dual)
        # The overshoot of 2 per cent is part of the method.
        torch.testing.assert_close(crafted.smallest, expected * 1.02, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def linear():
    """A linear model of three classes, images it gets right, and each image's distance to its decision boundary."""
    generator = torch.Generator().manual_seed(4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with torch.no_grad():
        module[1].weight.copy_(torch.randn(3, 36, generator=generator))
        module[1].bias.zero_()
    images = torch.rand(3, 1, 6, 6, generator=generator) * 0.2 + 0.4
    logits = module(images).detach()
    labels = logits.argmax(1)
    distance = {}
    for norm, dual in (("linf", 1), ("l2", 2), ("l1", torch.inf)):
        across = [
            min(
                float((logit[label] - logit[other]) / (weight[label] - weight[other]).norm(p=dual))
                for other in range(3)
                if other != label
            )
            for logit, label, weight in zip(logits, labels.tolist(), [module[1].weight.detach()] * 3, strict=True)
        ]
        distance[norm] = torch.tensor(across)
    return module.eval(), images, labels, distance


# How much further than the boundary an attack of few steps may end; the others only have to stay beyond it.
NEAR = {"deepfool_l2": 1.03, "deepfool_linf": 1.06, "ddn_l2": 1.15, "fmn_linf": 1.05, "fmn_l1": 1.2}
# What suffices for attacks that are told an epsilon: cross-entropy heads for all other classes, not the nearest.
ENOUGH = {"apgd_dlr": 1.1, "apgd_t": 1.1, "apgd_ce": 1.6, "square": 8}


@pytest.mark.parametrize("name", EACH_ADAPTER)
def test_no_attack_finds_less_than_the_distance_to_the_boundary_of_a_linear_model(name, linear):
    module, images, labels, distance = linear
    attack = quick(name)
    exact = distance[attack.norm]
    if name in TOLD_EPSILON:
        for row in range(len(images)):
            epsilons = [float(exact[row]) * factor for factor in (0.98, ENOUGH[name])]
            batches = craft(attack, [module], images[[row]], labels[[row]], epsilons, indices=[row])
            predictions = [int(module(crafted.images).argmax(1)) for crafted in batches]
            assert predictions[0] == labels[row]
            assert predictions[1] != labels[row]
    else:
        found = next(craft(attack, [module], images, labels, [1.0])).smallest
        assert bool((found >= exact * (1 - 1e-3)).all())
        assert bool((found <= exact * NEAR.get(name, torch.inf)).all())


def test_an_attack_that_stops_on_the_boundary_itself_counts_at_its_distance():
    # Which class has equal logits is rounding, so that an image a decision-based attack called adversarial may not be
    # in a larger batch. Here the library returns the boundary of a linear model to the bit, and argmax says 0.
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    images = torch.tensor([0.75, 0.25, 0.5, 0.5]).view(1, 1, 2, 2)
    library = Library("edge", lambda shown, part, epsilon: torch.full((1, 1, 2, 2), 0.5), batched=True)
    nothing = torch.zeros(1, dtype=torch.int64)
    task = Task(images, nothing, nothing, (images, nothing), ImageDraws(0, "edge", [0]), THREATS["l2"])
    crafted = next(smallest_first(library, targeted=False)([Surrogate(module, 0, 1, "float32")], task, [1.0]))
    assert float(crafted.smallest) == pytest.approx(0.125**0.5, rel=2e-3)


def test_fmn_crosses_boundaries_that_it_would_only_approach(attacks, case):
    # Foolbox's own run leaves some black-and-white digits just short of the boundary, and an adapter that believed it
    # would call them robust at every epsilon. When the last line fails, Foolbox has changed: take `_across` out.
    module, images, labels = case
    right = module(images).argmax(1) == labels
    found = next(craft(attacks.attacks["fmn_l1"], [module], images, labels, [1.0])).smallest
    assert bool(found.isfinite().all())
    model, goal = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu"), foolbox.Misclassification(labels)
    alone = foolbox.attacks.L1FMNAttack(steps=100, max_stepsize=0.1).run(model, images, goal)
    missed = (module(alone).argmax(1) == labels) & right
    assert int(missed.sum()) == (2 if images.shape[1] == 1 else 0)


def test_where_autopgd_fails_it_gives_its_best_point_and_not_its_random_start(prey):
    # What ART returns then is hardly worse than the clean image, though a target may fall for x_max of algorithm 1.
    # When the last line fails, ART has changed: take `_best_seen` out.
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    module, images, labels = prey[0], prey[1][:5], prey[2][:5]

    def loss(images):
        return nn.functional.cross_entropy(module(images), labels, reduction="none")

    found = next(craft(quick("apgd_ce"), [module], images, labels, [0.03])).images
    withstood = module(found).argmax(1) == labels
    assert int(withstood.sum()) >= 4
    assert bool((loss(found) > 1.5 * loss(images))[withstood].all())
    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    options = {"eps": 0.03, "eps_step": 0.06, "max_iter": 10, "nb_random_init": 1, "loss_type": "cross_entropy"}
    with seeded_for_image(0, "alone", 0):
        alone = AutoProjectedGradientDescent(classifier, verbose=False, **options)
        theirs = torch.from_numpy(alone.generate(images.numpy(), labels.numpy()))
    assert bool((loss(theirs) < 1.3 * loss(images))[withstood].all())


def test_the_foolbox_adapter_returns_what_foolbox_returns(prey):
    module, images, labels = prey
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    direct = foolbox.attacks.L2DeepFoolAttack(steps=50).run(model, images[:5], foolbox.Misclassification(labels[:5]))
    crafted = next(craft(WORKSPACE.attacks["deepfool_l2"], [module], images[:5], labels[:5], [100.0]))
    torch.testing.assert_close(crafted.images, direct, rtol=0, atol=1e-5)


def test_the_art_adapter_returns_what_art_returns_from_the_same_random_state(prey):
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    module, images, labels = prey
    attack = quick("square")
    crafted = next(craft(attack, [module], images[:1], labels[:1], [0.1], seed=7, indices=[40]))
    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    with seeded_for_image(7, "square", 40):
        direct = SquareAttack(classifier, norm=np.inf, eps=0.1, max_iter=40, p_init=0.8, nb_restarts=1, verbose=False)
        found = direct.generate(images[:1].numpy(), nn.functional.one_hot(labels[:1], 10).numpy())
    np.testing.assert_allclose(crafted.images, found, atol=1e-6)


def test_query_attacks_say_how_many_images_they_showed(prey):
    module, images, labels = prey
    shown = []
    module.register_forward_hook(lambda part, inputs, output: shown.append(len(inputs[0])))
    crafted = next(craft(quick("square"), [module], images, labels, [0.1]))
    module._forward_hooks.clear()
    assert int(crafted.queries.sum()) == sum(shown) - 1  # one forward pass asked for the number of classes
    assert int(crafted.queries.max()) <= 3 * 40 + 5  # ART shows Square's every candidate three times


def test_a_targeted_adapter_reaches_its_targets(card, prey):
    module, images, labels = prey
    attack = card(norm="l2", target="next", adapter={"component": "foolbox", "attack": "DDNAttack"})
    crafted = next(craft(attack, [module], images[:5], labels[:5], [100.0]))
    assert bool((module(crafted.images).argmax(1) == (labels[:5] + 1) % 10).all())


def test_an_ensemble_of_surrogates_is_shown_to_a_library_as_its_mean_logits(card, make_network, digits):
    networks = [make_network(1, seed=seed) for seed in range(2)]
    images, labels = digits[0][:4], digits[1][:4]
    crafted = next(craft(WORKSPACE.attacks["deepfool_l2"], networks, images, labels, [100.0]))
    logits = sum(network(crafted.images) for network in networks)
    assert bool((logits.argmax(1) != labels).all())


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "target", "adapter", "words"),
    [
        ("l2", None, {"component": "foolbx", "attack": "DDNAttack"}, "Did you mean foolbox"),
        ("l2", None, {"component": "foolbox", "attack": "DDNAtack"}, "Did you mean DDNAttack"),
        ("linf", None, {"component": "foolbox", "attack": "DDNAttack"}, "the card's norm is linf"),
        ("l2", None, {"component": "foolbox", "attack": "DDNAttack", "options": {"stepps": 3}}, "stepps"),
        ("l2", None, {"component": "foolbox"}, "the option attack is missing"),
        ("linf", None, {"component": "art", "attack": "SquareAtack"}, "Did you mean SquareAttack"),
        ("linf", None, {"component": "art", "attack": "SquareAttack", "options": {"maxiter": 3}}, "max_iter"),
        ("linf", "next", {"component": "art", "attack": "SquareAttack"}, "knows no targets"),
    ],
)
def test_a_wrong_adapter_is_refused_before_anything_runs(card, norm, target, adapter, words):
    with pytest.raises(UsageError) as caught:
        build_attempt(card(norm=norm, target=target, adapter=adapter))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_inside_a_library_is_one_line_that_names_it(card, prey):
    module, images, labels = prey
    attack = card(norm="linf", adapter={"component": "art", "attack": "SquareAttack", "options": {"max_iter": -1}})
    with pytest.raises(WorkFailed, match="art SquareAttack: ValueError") as caught:
        list(craft(attack, [module], images, labels, [0.1]))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("numba") is not None, reason="numba is installed")
def test_a_library_attack_that_needs_a_missing_package_says_which(card):
    with pytest.raises(UsageError, match="needs the package numba"):
        build_attempt(card(norm="l2", adapter={"component": "foolbox", "attack": "L2BrendelBethgeAttack"}))


@pytest.mark.parametrize("field", [{"steps": 3}, {"loss": "margin"}, {"update": {"component": "momentum"}}])
def test_an_adapter_beside_components_is_refused(card, field):
    with pytest.raises(ValueError, match="has no meaning beside it"):
        card(norm="l2", adapter={"component": "foolbox", "attack": "DDNAttack"}, **field)


WARNED = """
import warnings, torch, robustbench_ekdaa as rb
model, images = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), torch.rand(2, 1, 8, 8)
for attack in ("deepfool_linf", "simba_l2"):
    print(rb.craft(attack, model, images, torch.tensor([0, 1]), [0.1]).shape)
assert any(action == "error" for action, *_ in warnings.filters)
"""


def test_another_librarys_warning_stops_nothing_where_warnings_are_errors():
    done = subprocess.run([sys.executable, "-W", "error", "-c", WARNED], capture_output=True, text=True)
    assert done.stdout == "torch.Size([1, 2, 1, 8, 8])\n" * 2, done.stderr


def test_a_warning_while_another_librarys_attack_runs_does_not_end_it_where_warnings_are_errors():
    def run(shown: Shown, part: Part, epsilon: float | None) -> torch.Tensor:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return part.images

    images, network = torch.rand(2, 1, 8, 8), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    labels, draws = torch.tensor([0, 1]), ImageDraws(0, "theirs", [0, 1])
    task = Task(images, labels, labels, (images, labels), draws, THREATS["linf"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Library("theirs", run, batched=True).attack([Surrogate(network, 0, 1)], task, [0, 1], 0.1)
    assert torch.equal(found.images, images)
