"""Every attack card of the repository: it builds, keeps the guarantees, and does something."""

from __future__ import annotations

import pytest
import torch

from robustbench_ekdaa.cards import AttackCard, SuiteCard, Workspace
from robustbench_ekdaa.crafting import build_attempt, craft
from robustbench_ekdaa.crafting.threat import THREATS
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.registry import COMPONENTS

WORKSPACE = Workspace()
COMPOSED = {name: WORKSPACE.attacks[name] for name in WORKSPACE.attacks.names()}
GRADIENT_CARDS = [name for name, attack in COMPOSED.items() if attack.adapter is None and attack.steps <= 20]
EPSILON = {"linf": 0.1, "l2": 0.8, "l1": 5.0}


@pytest.fixture(scope="module")
def three(make_network, digits):
    return [make_network(1, seed=seed) for seed in range(3)]


def few_steps(attack):
    """The card with at most three steps, which is enough to see every component work and remember."""
    return attack.model_copy(update={"steps": min(attack.steps, 3)})


def surrogates_for(attack, networks):
    return networks if attack.uses_ensemble else networks[:1] if attack.uses_surrogate else []


@pytest.mark.parametrize("name", GRADIENT_CARDS)
def test_each_card_keeps_to_its_ball_and_box_and_raises_the_loss_more_than_noise(name, three, digits):
    attack = WORKSPACE.attacks[name]
    images, labels = digits[0][:8], digits[1][:8]
    networks, epsilon = surrogates_for(attack, three), EPSILON[attack.norm]
    crafted = next(craft(attack, networks, images, labels, [epsilon]))
    assert crafted.images.dtype == torch.float32
    assert float(crafted.images.min()) >= 0
    assert float(crafted.images.max()) <= 1
    assert float(THREATS[attack.norm].size(crafted.images - images).max()) <= epsilon * (1 + 1e-5) + 1e-6
    assert not crafted.zero_gradient.any()
    if attack.uses_surrogate and attack.target is None:
        noise = AttackCard(kind="attack", name="noise", norm=attack.norm, steps=0, start={"component": "uniform"})
        control = next(craft(noise, [], images, labels, [epsilon])).images

        def loss(adversarial):
            logits = sum(network(adversarial) for network in networks)
            return torch.nn.functional.cross_entropy(logits, labels).item()

        assert loss(crafted.images) > loss(control)


@pytest.mark.parametrize("name", GRADIENT_CARDS)
def test_the_batches_a_card_is_run_in_change_only_rounding(name, three, digits):
    attack = few_steps(WORKSPACE.attacks[name])
    images, labels = digits[0][:6], digits[1][:6]
    networks, pool = surrogates_for(attack, three), (digits[0][:50], digits[1][:50])
    options = {"epsilons": [EPSILON[attack.norm] / 2, EPSILON[attack.norm]], "pool": pool}
    together = list(craft(attack, networks, images, labels, indices=range(6), **options))
    for rows in ([0, 1, 2, 3], [5, 4]):
        apart = craft(attack, networks, images[rows], labels[rows], indices=rows, **options)
        for one, many in zip(apart, together, strict=True):
            # Where a gradient is within rounding of zero its sign is rounding too.
            assert float(((one.images - many.images[rows]).abs() < 1e-5).float().mean()) > 0.98


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9), (1, 28, 28)])
def test_every_card_runs_on_every_size_of_image(shape, make_network):
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(2, *shape, generator=generator), torch.tensor([3, 4])
    networks = [make_network(shape[0], seed=seed) for seed in range(2)]
    for name in GRADIENT_CARDS:
        attack = few_steps(WORKSPACE.attacks[name])
        crafted = next(craft(attack, surrogates_for(attack, networks), images, labels, [EPSILON[attack.norm]]))
        assert crafted.images.shape == images.shape
        assert bool(crafted.images.isfinite().all())


def test_the_attacks_of_each_suite_share_one_norm():
    for name in WORKSPACE.suites.names():
        assert len({attack.norm for attack in WORKSPACE.expand_attacks([name])}) == 1


def test_the_suite_everything_holds_every_gradient_attack_of_the_other_l_infinity_suites():
    everything = WORKSPACE.expand_attacks(["everything"])
    for name in ("paper", "transfer", "strong"):
        assert all(attack in everything for attack in WORKSPACE.expand_attacks([name]))


def test_a_suite_card_needs_attacks():
    with pytest.raises(UsageError, match="at least 1"):
        SuiteCard(kind="suite", name="none", attacks=())


# -- wrong cards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loss": "cross_entropi"}, "unknown attack loss 'cross_entropi'. Did you mean cross_entropy"),
        ({"source": {"component": "ensemble_logit"}}, "Did you mean ensemble_logits"),
        ({"update": {"component": "momentum", "decoy": 1}}, "update: unknown option 'decoy'. Did you mean decay"),
        ({"update": {"component": "momentum", "decay": -1}}, "update.decay: must be greater than 0"),
        ({"gradient": [{"component": "kernel_smoothing", "size": 4}]}, "size must be odd"),
        ({"gradient": [{"component": "kernel_smoothing", "kernel": "box"}]}, "gradient.0.kernel"),
        ({"input": [{"component": "scale", "copies": 0}]}, "input.0.copies"),
        ({"input": [{"component": "diversity", "probability": 2}]}, "input.0.probability"),
        ({"start": {"component": "uniform", "size": 0}}, "start.size"),
        ({"norm": "l2", "step": {"component": "patch_wise"}}, "linf"),
    ],
)
def test_a_card_with_a_wrong_component_is_refused_with_its_field(card, fields, words):
    with pytest.raises(UsageError) as caught:
        build_attempt(card(**fields))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0},
        {"steps": 0, "start": {"component": "uniform"}, "target": "random"},
        {"step_size": "epsilon / step"},
        {"step_size": -0.1},
        {"norm": "l3"},
        {"target": "any"},
        {"backward": ["tanh"]},
        {"backward": ["tanh:0"]},
        {"backward": []},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(card, fields):
    with pytest.raises(ValueError, match="validation error"):
        card(**fields)


def test_the_identity_of_a_card_is_its_content_without_titles_and_with_the_files_it_names(card, tmp_path):
    plain = card(update={"component": "momentum", "decay": 1.0})
    assert plain.identity() == card(title="other", update={"component": "momentum", "decay": 1.0}).identity()
    assert plain.identity() != card(update={"component": "momentum", "decay": 0.9}).identity()
    assert plain.identity() != card(update={"component": "momentum", "decay": 1.0}, steps=9).identity()


# -- components of one's own -----------------------------------------------------------------------------------------


def test_a_new_component_is_one_function_and_a_registration(card, case):
    @COMPONENTS["update"].register("downhill")
    def downhill():
        return lambda gradient, context, state: (-gradient, state)

    module, images, labels = case
    found = next(craft(card(update={"component": "downhill"}), [module], images, labels, [0.1])).images
    losses = [torch.nn.functional.cross_entropy(module(each), labels) for each in (found, images)]
    assert losses[0] < losses[1]


def test_a_component_may_stand_in_a_file_beside_its_card_and_is_part_of_its_identity(case, tmp_path):
    room = tmp_path / "attacks"
    room.mkdir()
    code = (
        "def flip():\n"
        "    def transform(images, context):\n"
        "        yield images\n"
        "        yield images.flip(-1)\n"
        "    return transform\n"
    )
    (room / "mine.py").write_text(code)
    (room / "flipped.toml").write_text(
        'kind = "attack"\nname = "flipped"\nsteps = 2\n[[input]]\ncomponent = "mine.py:flip"\n'
    )
    attack = Workspace(tmp_path).attacks["flipped"]
    module, images, labels = case
    found = next(craft(attack, [module], images, labels, [0.1])).images
    assert not torch.equal(found, next(craft(WORKSPACE.attacks["bim"], [module], images, labels, [0.1])).images)
    before = attack.identity()
    (room / "mine.py").write_text(code.replace("-1", "-2"))
    assert attack.identity() != before
