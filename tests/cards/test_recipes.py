"""Recipe cards, and models crossed with them: `ekdaa@sgd` is the card ekdaa, trained by the recipe card sgd."""

from __future__ import annotations

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import SweepSpec, Workspace, crossed_names, without_repeats
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering.style import looks

from ..support.recipe_cards import RECIPE

SPEC = {"datasets": ["digits"], "attacks": ["fgsm"], "epsilons": [0.1], "seeds": 1, "images": 30}


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "models" / "recipes"
    folder.mkdir(parents=True)
    (folder / "quick.toml").write_text(RECIPE.format(name="quick", optimizer="SGD"))
    (folder / "fast.toml").write_text(RECIPE.format(name="fast", optimizer="Adam"))
    return Workspace(tmp_path)


def test_every_model_is_named_under_every_recipe_once():
    assert crossed_names(["a", "b"], ["own", "sgd"]) == ("a", "a@sgd", "b", "b@sgd")
    assert crossed_names(["a", "a@adamw"], ["sgd"]) == ("a@sgd", "a@adamw")
    assert crossed_names(["a", "a"], []) == ("a",)


def test_a_crossed_model_has_the_recipe_of_the_recipe_card_and_all_else_of_its_own(workspace):
    own, crossed = workspace.model("ekdaa"), workspace.model("ekdaa@quick")
    assert crossed.recipe("digits") == workspace.recipes["quick"].recipe("digits")
    assert (crossed.rule, crossed.rule_options, crossed.network) == (own.rule, own.rule_options, own.network)
    assert (crossed.name, crossed.label) == ("ekdaa@quick", "EKDAA with Kolen-Pollack decay, quick")
    assert crossed.at_recipe("digits").endswith("quick.toml: training.default")
    assert workspace.model("ekdaa@own").recipe("digits") == own.recipe("digits")


def test_what_is_wrong_in_a_recipe_names_the_recipe_s_file(workspace, tmp_path):
    path = tmp_path / "models" / "recipes" / "fast.toml"
    path.write_text(RECIPE.format(name="fast", optimizer="Adamm"))
    with pytest.raises(UsageError, match=r"fast\.toml: training\.default\.optimizer: .*Did you mean"):
        rb.train("backprop@fast", "digits", seed=0, run=tmp_path / "run", workspace=workspace)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ekdaa@sgdd", "unknown recipe 'sgdd'. Did you mean sgd"),
        ("ekdaaa@sgd", "unknown model 'ekdaaa'. Did you mean ekdaa"),
        ("ekdaa@sgd@adamw", "unknown recipe 'sgd@adamw'"),
    ],
)
def test_an_unknown_part_of_a_crossed_name_is_told(workspace, name, message):
    with pytest.raises(UsageError, match=message):
        workspace.model(name)


def test_a_sweep_crosses_its_models_with_its_recipes(workspace, tmp_path):
    spec = SweepSpec(models=["backprop", "frozen"], recipes=["quick", "fast"], **SPEC)
    results = rb.sweep(spec, tmp_path / "run", workspace=workspace)
    frame = results.frame()
    names = {"backprop@quick", "backprop@fast", "frozen@quick", "frozen@fast"}
    assert set(frame["target"]) == names
    assert set(frame["target_rule"]) == {"backprop", "frozen"}
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 4
    drawn = looks(results)
    for rule in ("backprop", "frozen"):
        assert drawn[f"{rule}@quick"].colour == drawn[f"{rule}@fast"].colour
        assert drawn[f"{rule}@quick"].dashes != drawn[f"{rule}@fast"].dashes
    assert drawn["backprop@quick"].colour != drawn["frozen@quick"].colour
    assert drawn["backprop@quick"].dashes == drawn["frozen@quick"].dashes
    rb.report(tmp_path / "run", tmp_path / "page")
    assert "backprop@quick" in (tmp_path / "page" / "tables" / "results.csv").read_text()
    network = rb.load_model("backprop@fast", "digits", seed=0, run=tmp_path / "run", workspace=workspace)
    assert network(rb.load_dataset("digits", "test", 3).images).shape == (3, 10)


def test_a_recipe_that_a_model_has_already_is_not_trained_twice(workspace):
    cards = workspace.expand_models(["backprop", "backprop@sgd", "backprop@adamw", "ekdaa@sgd"])
    assert [card.name for card in without_repeats(cards, "digits")] == ["backprop", "backprop@adamw", "ekdaa@sgd"]
    assert [card.name for card in without_repeats(cards[1:], "digits")] == [
        "backprop@sgd",
        "backprop@adamw",
        "ekdaa@sgd",
    ]


def test_every_recipe_of_the_package_serves_every_data_set():
    workspace = Workspace()
    for name in workspace.recipes:
        for dataset in ("digits", "fashion_mnist", "cifar10", "svhn"):
            assert workspace.model(f"ekdaa@{name}").recipe(dataset).epochs > 0
