"""What holds for every adversarial image, whatever the attack, shape, norm, epsilon, batch or network."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.errors import UsageError, WorkFailed

few = settings(max_examples=40, derandomize=True)

FAMILIES = {
    "one step": {"steps": 1, "step_size": "epsilon"},
    "momentum": {"steps": 3, "update": {"component": "momentum", "decay": 1.0}},
    "random start": {"steps": 2, "step_size": "2.5 * epsilon / steps", "start": {"component": "uniform"}},
    "noise": {"steps": 0, "start": {"component": "uniform"}},
    "changed inputs": {
        "steps": 2,
        "input": [
            {"component": "diversity"},
            {"component": "admix", "images": 2},
            {"component": "scale", "copies": 2},
            {"component": "spectrum", "copies": 2},
        ],
    },
    "changed gradients": {
        "steps": 3,
        "gradient": [
            {"component": "look_ahead"},
            {"component": "sampling", "samples": 3},
            {"component": "kernel_smoothing", "size": 15},
            {"component": "variance_tuning", "neighbours": 2},
        ],
        "update": {"component": "momentum"},
    },
    "targeted": {"steps": 2, "target": "random", "loss": "margin"},
    "variance reduced": {"steps": 2, "source": {"component": "variance_reduced", "rounds": 2}},
}


def surrogates_for(attack, module, make_network):
    """Nobody, a network, or that network and another one, as the attack needs."""
    others = [make_network(next(module.parameters()).shape[1], seed=9)] if attack.uses_ensemble else []
    return [module, *others] if attack.uses_surrogate else []


@st.composite
def scenes(draw):
    """A family of attack, a norm, an epsilon, and images of any shape with constant and extreme ones among them."""
    shape = draw(st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(4, 11), st.integers(4, 11)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    images = torch.rand(shape, generator=generator)
    kind = draw(st.sampled_from(["any", "corners", "black", "white", "constant"]))
    images = {
        "any": images,
        "corners": images.round(),
        "black": torch.zeros(shape),
        "white": torch.ones(shape),
        "constant": torch.full(shape, 0.5),
    }[kind]
    labels = torch.randint(0, 10, shape[:1], generator=generator)
    epsilon = draw(st.sampled_from([0.0, 1e-6, 0.01, 0.3, 1.0, 50.0]))
    return draw(st.sampled_from(sorted(FAMILIES))), draw(st.sampled_from(sorted(THREATS))), epsilon, images, labels


@few
@given(scenes())
def test_every_image_stays_in_its_ball_and_in_the_box(card, make_network, scene):
    family, norm, epsilon, images, labels = scene
    attack = card(norm=norm, **FAMILIES[family])
    surrogates = surrogates_for(attack, make_network(images.shape[1]), make_network)
    crafted = next(craft(attack, surrogates, images, labels, [epsilon]))
    assert crafted.images.dtype == torch.float32
    assert crafted.images.shape == images.shape
    assert float(crafted.images.min()) >= 0
    assert float(crafted.images.max()) <= 1
    # Pixels near 1 are 6e-8 apart; a norm adds up that rounding over the pixels.
    rounding = 1.2e-7 * {"linf": 1, "l2": images[0].numel() ** 0.5, "l1": images[0].numel()}[norm]
    assert float(THREATS[norm].size(crafted.images - images).max()) <= epsilon * (1 + 1e-6) + rounding


@few
@given(scenes())
def test_epsilon_zero_returns_the_images_exactly(card, make_network, scene):
    family, norm, epsilon, images, labels = scene
    attack = card(norm=norm, **FAMILIES[family])
    surrogates = surrogates_for(attack, make_network(images.shape[1]), make_network)
    first, _, last = craft(attack, surrogates, images, labels, [0, epsilon, 0])
    assert torch.equal(first.images, images)
    assert torch.equal(last.images, images)
    assert first.images.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("norm", sorted(THREATS))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_batch_an_image_is_crafted_in_changes_only_rounding(card, case, make_network, family, norm):
    module, images, labels = case
    attack, epsilons = card(norm=norm, **FAMILIES[family]), [0.1, 0.4]
    surrogates, pool = surrogates_for(attack, module, make_network), (images, labels)
    together = list(craft(attack, surrogates, images[:12], labels[:12], epsilons, indices=range(12), pool=pool))
    for batch in ([0, 1, 2, 3, 4], [5], [11, 8, 7, 6, 10, 9]):
        apart = list(craft(attack, surrogates, images[batch], labels[batch], epsilons, indices=batch, pool=pool))
        for one, many in zip(apart, together, strict=True):
            close = (one.images - many.images[batch]).abs() <= 1e-5
            # Where a gradient is within rounding of zero its sign is rounding too.
            assert float(close.float().mean()) > 0.98


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_other_epsilons_of_a_sweep_change_nothing_to_the_bit(card, case, make_network, family):
    module, images, labels = case
    attack = card(**FAMILIES[family])
    surrogates = surrogates_for(attack, module, make_network)
    together = list(craft(attack, surrogates, images, labels, [0.05, 0.1, 0.2]))
    for crafted in together:
        alone = next(craft(attack, surrogates, images, labels, [crafted.epsilon]))
        assert torch.equal(alone.images, crafted.images)


def test_random_starts_differ_between_images_seeds_and_attacks_but_point_the_same_way_at_every_epsilon(card, digits):
    images, labels = torch.full((4, 1, 8, 8), 0.5), digits[1][:4]
    noise = card(steps=0, start={"component": "uniform"})
    small, large = (one.images - 0.5 for one in craft(noise, [], images, labels, [0.1, 0.2]))
    torch.testing.assert_close(small * 2, large, rtol=0, atol=1e-6)
    assert not torch.equal(small[0], small[1])
    assert not torch.equal(small, next(craft(noise, [], images, labels, [0.1], seed=1)).images - 0.5)
    other = card(name="other", steps=0, start={"component": "uniform"})
    assert not torch.equal(small, next(craft(other, [], images, labels, [0.1])).images - 0.5)


def test_the_global_random_state_is_neither_read_nor_written(attacks, case):
    module, images, labels = case
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = next(craft(attacks.attacks["pgd"], [module], images, labels, [0.1])).images
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, next(craft(attacks.attacks["pgd"], [module], images, labels, [0.1])).images)


# -- the surrogate ---------------------------------------------------------------------------------------------------


@pytest.fixture
def patient() -> nn.Sequential:
    """A network with dropout and batch normalisation, partly frozen, partly in training mode."""
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10)
    )
    made.train()
    made[1].eval()
    made[0].weight.requires_grad_(False)
    return made


def condition(module: nn.Module):
    return (
        [part.training for part in module.modules()],
        [parameter.requires_grad for parameter in module.parameters()],
        [parameter.grad for parameter in module.parameters()],
        {key: value.clone() for key, value in module.state_dict().items()},
    )


def assert_unchanged(module: nn.Module, before) -> None:
    after = condition(module)
    assert after[:3] == before[:3]
    assert all(torch.equal(after[3][key], value) for key, value in before[3].items())


def test_a_surrogate_is_given_back_as_it_was_between_epsilons_and_afterwards(attacks, digits, patient):
    images, labels = digits[0][:6], digits[1][:6]
    before = condition(patient)
    batches = craft(attacks.attacks["pgd"], [patient], images, labels, [0.1, 0.2])
    next(batches)
    assert_unchanged(patient, before)
    list(batches)
    assert_unchanged(patient, before)


def test_a_surrogate_is_given_back_as_it_was_after_an_error(attacks, digits, patient):
    images, labels = digits[0][:6], digits[1][:6]
    before = condition(patient)
    failing = nn.Sequential(patient, nn.Linear(7, 10))
    with pytest.raises(UsageError, match=r"surrogate 0 \(Sequential\): cannot answer images of shape \(6, 1, 8, 8\)"):
        list(craft(attacks.attacks["bim"], [failing], images, labels, [0.1]))
    assert_unchanged(patient, before)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_surrogates_are_given_back_and_evaluated_in_evaluation_mode_and_no_parameter_gradient_is_computed(
    card, digits, patient, make_network, family
):
    images, labels = digits[0][:6], digits[1][:6]
    before = condition(patient)
    seen = []
    for part in patient.modules():
        part.register_forward_hook(
            lambda part, inputs, output: seen.append(
                (part.training, any(parameter.requires_grad for parameter in part.parameters()))
            )
        )
    computed = []
    for parameter in patient.parameters():
        if parameter.requires_grad:
            parameter.register_hook(computed.append)
    attack = card(**FAMILIES[family])
    others = [make_network(1)] if attack.uses_ensemble else []
    list(craft(attack, [patient, *others] if attack.uses_surrogate else [], images, labels, [0.1, 0.2]))
    assert set(seen) == (set() if family == "noise" else {(False, False)})
    assert computed == []
    assert_unchanged(patient, before)


def test_the_inputs_are_not_written_to(attacks, case):
    module, images, labels = case
    before = images.clone()
    for name in ("fgsm", "pgd", "noise"):
        attack = attacks.attacks[name]
        for crafted in craft(attack, [module] if attack.uses_surrogate else [], images, labels, [0, 0.1]):
            crafted.images.zero_()
    assert torch.equal(images, before)


# -- zero and tiny gradients -----------------------------------------------------------------------------------------


class Flat(nn.Module):
    """Says the same of every image, with a gradient of `slope` times that of a linear network."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(images.flatten(1)) * self.slope


@pytest.mark.parametrize("norm", sorted(THREATS))
def test_images_without_a_gradient_stay_finite_and_are_counted(card, digits, norm):
    images, labels = digits[0][:5], digits[1][:5]
    attack = card(norm=norm, steps=3, update={"component": "momentum"})
    crafted = next(craft(attack, [Flat(0.0)], images, labels, [0.3]))
    assert torch.equal(crafted.images, images)
    assert crafted.zero_gradient.all()
    assert not next(craft(attack, [Flat(1.0)], images, labels, [0.3])).zero_gradient.any()


@pytest.mark.parametrize("norm", sorted(THREATS))
@pytest.mark.parametrize("update", ["plain", "momentum"])
def test_tiny_gradients_move_an_image_as_far_as_large_ones(card, norm, update):
    images, labels = torch.full((3, 1, 8, 8), 0.5), torch.tensor([0, 1, 2])
    module = Flat(1e-37)
    attack = card(norm=norm, steps=2, update={"component": update})
    crafted = next(craft(attack, [module], images, labels, [0.3]))
    torch.testing.assert_close(THREATS[norm].size(crafted.images - images), torch.full((3,), 0.3), rtol=1e-4, atol=1e-5)


# -- refusals --------------------------------------------------------------------------------------------------------


class Broken(nn.Module):
    """Answers with one logit that is not finite."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.value = value

    def forward(self, images):
        logits = self.linear(images.flatten(1))
        return torch.cat([logits[:, :-1], torch.full_like(logits[:, :1], self.value)], dim=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_surrogate_that_answers_nan_or_infinity_is_refused_by_name(attacks, digits, value):
    images, labels = digits[0][:5], digits[1][:5]
    with pytest.raises(WorkFailed, match=r"surrogate 0 \(Broken\).*NaN or infinite"):
        list(craft(attacks.attacks["bim"], [Broken(value)], images, labels, [0.3]))


class Kinked(nn.Module):
    """Finite logits, but the square root of black pixels has no slope."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        return self.linear((images.flatten(1) * 0).sqrt())


@pytest.mark.parametrize("norm", sorted(THREATS))
@pytest.mark.parametrize("update", ["plain", "momentum"])
def test_gradients_that_are_nan_are_refused_rather_than_taken_for_robustness(card, digits, norm, update):
    images, labels = digits[0][:5], digits[1][:5]
    attack = card(norm=norm, steps=2, update={"component": update})
    with pytest.raises(WorkFailed, match=r"surrogate 0 \(Kinked\): some of its (gradients|logits) are NaN"):
        list(craft(attack, [Kinked()], images, labels, [0.3]))


def test_wrong_arguments_are_refused_in_one_clear_line(attacks, case):
    module, images, labels = case
    fgsm = attacks.attacks["fgsm"]

    def refusal(attack=fgsm, surrogates=None, images=images, labels=labels, epsilons=(0.1,), **options):
        with pytest.raises(UsageError) as caught:
            list(craft(attack, [module] if surrogates is None else surrogates, images, labels, epsilons, **options))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "float32 of shape (N, C, H, W)" in refusal(images=images.double())
    assert "float32 of shape (N, C, H, W)" in refusal(images=images[0])
    assert "[0, 1]" in refusal(images=images * 255)
    assert "[0, 1]" in refusal(images=images - 0.1)
    assert "[0, 1]" in refusal(images=images * float("nan"))
    assert "int64" in refusal(labels=labels.int())
    assert "int64" in refusal(labels=labels[:-1])
    assert "negative" in refusal(labels=labels - 1)
    assert "10 classes, but there is a label 13" in refusal(labels=labels + 4)
    assert "epsilon" in refusal(epsilons=[-0.1])
    assert "epsilon" in refusal(epsilons=[float("nan")])
    assert "indices" in refusal(indices=[1, 2])
    assert "at least one surrogate" in refusal(surrogates=[])
    assert "takes one surrogate (got 2)" in refusal(surrogates=[module, module])
    assert "logits of shape" in refusal(surrogates=[nn.Identity()])


def test_arguments_are_checked_before_anything_is_crafted(attacks, case):
    module, images, labels = case
    with pytest.raises(UsageError):
        craft(attacks.attacks["fgsm"], [module], images * 2, labels, [0.1])


@pytest.mark.parametrize("name", Workspace().attacks.names())
def test_an_empty_batch_comes_back_empty(attacks, case, make_network, name):
    module, images, labels = case
    attack = attacks.attacks[name]
    surrogates = surrogates_for(attack, module, make_network)
    (made,) = craft(attack, surrogates, images[:0], labels[:0], [0.1])
    assert made.images.shape == images[:0].shape
    assert made.epsilon == 0.1


class Tuple(nn.Module):
    def forward(self, images):
        return images.flatten(1), None


@pytest.mark.parametrize(
    ("surrogates", "message"),
    [
        ([lambda images: images.flatten(1)], "surrogate 0: must be a torch.nn.Module"),
        ([nn.Linear(3, 3).double()], "must have float32 weights (got torch.float64)"),
        ([Tuple(), Tuple()], "(got tuple)"),
        (
            [nn.Sequential(nn.Flatten(), nn.Linear(64, classes)) for classes in (10, 12)],
            "has 12 classes, but surrogate 0",
        ),
    ],
)
def test_what_cannot_be_a_surrogate_is_told(card, digits, surrogates, message):
    images, labels = digits
    attack = card(source={"component": "ensemble_logits"})
    with pytest.raises(UsageError, match=re.escape(message)):
        list(craft(attack, surrogates, images[:4], labels[:4], [0.1]))


def test_the_logits_ratio_of_two_classes_is_refused(card, attacks, digits):
    images, labels = digits[0][:4], digits[1][:4] % 2
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    for attack in (card(loss="logit_ratio"), attacks.attacks["apgd_dlr"]):
        with pytest.raises(UsageError, match="at least three classes"):
            list(craft(attack, [module], images, labels, [0.1]))
