"""Surrogates of other architectures: cards with the role "surrogate", which `foreign` stands for."""

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import REGISTERED, SweepSpec, Workspace
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.training import make_rule
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator
from robustbench_ekdaa.scoring.plan import plan_sweep
from robustbench_ekdaa.storing.store import reading

from ..support.quick_models import write_card

DIGITS = load_dataset("digits")
MLP = '[[network.blocks]]\nlayer = "linear"\nwidth = 12\n'


def mark(folder, name, network=None):
    path = folder / "models" / f"{name}.toml"
    text = path.read_text().replace(f'name = "{name}"', f'name = "{name}"\nrole = "surrogate"')
    if network is not None:
        start = text.index("[network")
        text = text[:start] + network + text[text.index("[training") :]
    path.write_text(text)


@pytest.fixture
def workspace(tmp_path):
    for name in ("quick_bp", "far_bp", "near_bp"):
        write_card(tmp_path, name, "backprop" if name != "near_bp" else "ekdaa")
    mark(tmp_path, "far_bp", MLP)
    mark(tmp_path, "near_bp")
    return Workspace(tmp_path)


def spec(**fields):
    facts = {"datasets": ("digits",), "models": ("quick_bp",), "attacks": ("fgsm",), "epsilons": (0, 0.1)}
    return SweepSpec(**{**facts, "images": 20, "seeds": 3, **fields})


def test_foreign_stands_for_all_cards_whose_role_is_surrogate(workspace):
    builtin = [name for name in Workspace().models if Workspace().models[name].role == "surrogate"]
    named = [card.name for card in workspace.expand_models(["quick_bp", "foreign", "far_bp"])]
    assert named[0] == "quick_bp"
    assert sorted(named[1:]) == sorted([*builtin, "far_bp", "near_bp"])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("card", Workspace().expand_models(["foreign"]), ids=lambda card: card.name)
def test_the_package_s_surrogates_take_images_of_all_data_sets(card, shape):
    network = build_network(card.network, shape, 7, keyed_generator(0, "weights"))
    rule = make_rule(card)
    rule.bind(network, keyed_generator(0, "feedback"))
    images, labels = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    step = rule.compute_gradients(images, labels)
    assert step.logits.shape == (6, 7)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_the_package_s_foreign_architectures_of_blocks_are_crossed_with_rules():
    trained_by = {}
    for card in Workspace().expand_models(["foreign"]):
        trained_by.setdefault(card.network.preset or card.network.factory, set()).add(card.rule)
    assert trained_by.keys() == {"wide_cnn", "mlp", "batchnorm_cnn", "residual", "vision_transformer"}
    for preset in ("wide_cnn", "mlp"):
        assert trained_by[preset] >= {"backprop", "ekdaa", "sign_symmetry"}
    targets = [card for card in map(Workspace().models.__getitem__, Workspace().models) if card.role == "target"]
    assert not trained_by.keys() & {card.network.preset or card.network.factory for card in targets}


def test_the_role_is_no_part_of_a_model_s_identity(workspace, tmp_path):
    write_card(tmp_path, "far_bp", "backprop")
    mark(tmp_path, "far_bp", MLP)
    marked = plan_sweep(spec(surrogates=("far_bp",)), workspace, DIGITS)
    path = tmp_path / "models" / "far_bp.toml"
    path.write_text(path.read_text().replace('role = "surrogate"\n', ""))
    plain = plan_sweep(spec(surrogates=("far_bp",)), Workspace(tmp_path), DIGITS)
    assert [job.key for job in marked.surrogates] == [job.key for job in plain.surrogates]
    assert marked.roles().foreign == [job.key for job in marked.surrogates]
    assert plain.roles().foreign is None


def test_surrogates_may_have_fewer_seeds_than_targets(workspace):
    plan = plan_sweep(spec(surrogates=("quick_bp", "far_bp"), surrogate_seeds=2), workspace, DIGITS)
    assert [(job.card.name, job.seed) for job in plan.surrogates] == [
        (name, seed) for name in ("quick_bp", "far_bp") for seed in (0, 1)
    ]
    assert [job.seed for job in plan.targets] == [0, 1, 2]
    ensembles = plan_sweep(
        spec(surrogates=("quick_bp", "far_bp"), surrogate_seeds=2, attacks=("ens_fgsm",)), workspace, DIGITS
    ).ensembles
    assert [len(one.members) for one in ensembles] == [2, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"surrogate_seeds": 4}, r"surrogate_seeds must be at most seeds \(3; got 4\)"),
        ({"targets": ("foreign",)}, "'foreign' stands for models to craft on. Name it among the surrogates"),
        ({"models": ("quick_bp", "foreign")}, "'foreign' stands for models to craft on. Name it among the surrogates"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        spec(**fields)


def test_what_is_foreign_is_not_guessed_where_a_card_cannot_be_read(workspace, tmp_path):
    (tmp_path / "models" / "broken.toml").write_text('kind = "model"\nname = 3')
    with pytest.raises(UsageError, match=r"broken.toml.* Which models are 'foreign' is not known before\."):
        workspace.__class__(tmp_path).expand_models(["foreign"])


def test_a_card_cannot_be_called_foreign_and_has_no_other_role(workspace, tmp_path):
    write_card(tmp_path, "foreign", "backprop")
    with pytest.raises(UsageError, match="'foreign' stands for all cards whose role is 'surrogate'"):
        workspace.__class__(tmp_path).models["foreign"]
    mark(tmp_path, "quick_bp")
    path = tmp_path / "models" / "quick_bp.toml"
    path.write_text(path.read_text().replace('role = "surrogate"', 'role = "judge"'))
    with pytest.raises(UsageError, match="role: must be 'target' or 'surrogate'"):
        workspace.__class__(tmp_path).models["quick_bp"]


def test_a_run_knows_its_foreign_surrogates_and_counts_none_of_a_target_s_architecture(workspace, tmp_path):
    run = tmp_path / "run"
    rb.sweep(spec(surrogates=("far_bp", "near_bp", "quick_bp"), seeds=2), run, workspace=workspace.folder)
    with reading(run) as store:
        (outcomes,) = store.outcomes()
    assert {outcomes.models[key].name for key in outcomes.foreign} == {"far_bp"}
    assert len(outcomes.foreign) == 2
    rb.sweep(spec(targets=("far_bp",), surrogates=("quick_bp",), seeds=2), run, workspace=workspace.folder)
    with reading(run) as store:
        (outcomes,) = store.outcomes()
    assert outcomes.foreign == ()


def test_registered_modules_may_be_foreign(workspace):
    from torch import nn

    try:
        rb.register_model("mine", nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), rule="mine", role="surrogate")
        assert "mine" in [card.name for card in workspace.expand_models(["foreign"])]
    finally:
        REGISTERED.clear()
