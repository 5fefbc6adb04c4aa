"""Names of models on their way: `ekdaa#3` is the card ekdaa after epoch 3; and which epochs --keep-epochs keeps."""

from __future__ import annotations

import pickle

import pytest
from torch import nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import REGISTERED, SweepSpec, Workspace, crossed_names, kept_cards, without_repeats
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning import TrainingJob, model_job

from ..support.external_models import write_external
from ..support.training_jobs import card, job

SPEC = {"datasets": ["digits"], "models": ["ekdaa"], "attacks": ["fgsm"], "epsilons": [0.1]}


@pytest.fixture(scope="module")
def workspace():
    return Workspace()


def last_of(workspace, name="ekdaa"):
    return workspace.model(name).recipe("digits").epochs


def test_a_model_after_an_epoch_has_the_card_s_recipe_and_its_own_name_and_title(workspace):
    own, early = workspace.model("ekdaa"), workspace.model("ekdaa#3")
    assert (early.name, early.label) == ("ekdaa#3", f"{own.label}, after epoch 3")
    assert early.recipe("digits") == own.recipe("digits")
    assert (early.epochs("digits"), own.epochs("digits")) == (3, last_of(workspace))
    assert workspace.model("ekdaa@own#03").name == "ekdaa#3"
    crossed = workspace.model("ekdaa@adamw#2")
    assert (crossed.name, crossed.whole.name) == ("ekdaa@adamw#2", "ekdaa@adamw")
    assert crossed.recipe("digits") == workspace.recipes["adamw"].recipe("digits")


def test_only_an_earlier_epoch_is_another_model(workspace, digits):
    names = ("ekdaa", "ekdaa#1", "ekdaa#2", f"ekdaa#{last_of(workspace)}", "ekdaa@adamw#1")
    keys = [TrainingJob.on(digits, workspace.model(name), 0).key for name in names]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 4


def test_the_last_epoch_is_the_model_itself_under_its_own_name(workspace):
    last = f"ekdaa#{last_of(workspace)}"
    names = [last, "ekdaa", "ekdaa#2", "ekdaa@own#2"]
    kept = without_repeats(workspace.expand_models(names), "digits")
    assert [one.name for one in kept] == ["ekdaa", "ekdaa#2"]


def test_an_epoch_stays_what_it_is_in_another_process(workspace):
    early = pickle.loads(pickle.dumps(workspace.model("ekdaa@adamw#2")))  # noqa: S301 - made here
    assert (early.epochs("digits"), early.whole.name) == (2, "ekdaa@adamw")


def test_recipes_are_crossed_with_models_on_their_way():
    assert crossed_names(["a#3", "a@sgd#2"], ["own", "adamw"]) == ("a#3", "a@adamw#3", "a@sgd#2")


@pytest.mark.parametrize(("every", "kept"), [(1, [1, 2]), (2, [2]), (3, []), (4, [])])
def test_every_kth_epoch_is_kept_and_the_last_is_the_model_itself(every, kept):
    assert [one.epochs("digits") for one in kept_cards(card(), "digits", every)] == kept  # three epochs


def test_a_model_on_its_way_keeps_epochs_on_its_own_way(digits):
    early = model_job(digits, Workspace().model("ekdaa#3"), 0)
    assert [one.card.name for one in early.kept(1)] == ["ekdaa#1", "ekdaa#2"]


@pytest.mark.parametrize("name", ["ekdaa#0", "ekdaa#-1", "ekdaa#x", "ekdaa#", "ekdaa#1.5", "ekdaa#3#2", "ekdaa#3@sgd"])
def test_what_is_no_epoch_is_one_line_that_says_what_one_is(workspace, name):
    with pytest.raises(UsageError, match=r"a whole number from 1.*ekdaa#3, ekdaa@sgd#3") as caught:
        workspace.model(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("epoch", ["9" * 5000, "²", "١"])
def test_what_python_alone_takes_for_a_number_is_no_epoch(workspace, epoch):
    with pytest.raises(UsageError, match="a whole number from 1"):
        workspace.model(f"ekdaa#{epoch}")


def test_an_epoch_beyond_the_recipe_is_told_with_the_recipe(workspace, digits):
    beyond = last_of(workspace) + 1
    with pytest.raises(UsageError, match=rf"ekdaa#{beyond}: its recipe for digits has only \d+ epochs .*ekdaa\.toml"):
        model_job(digits, workspace.model(f"ekdaa#{beyond}"), 0)


def test_models_trained_elsewhere_have_no_epochs(tmp_path):
    write_external(tmp_path, seeds=(0,))
    with pytest.raises(UsageError, match=r"theirs#1'?: theirs was trained elsewhere"):
        Workspace(tmp_path).model("theirs#1")
    rb.register_model("live", nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), rule="mine")
    try:
        with pytest.raises(UsageError, match=r"live#1'?: live was trained elsewhere"):
            Workspace(tmp_path).model("live#1")
    finally:
        REGISTERED.clear()


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "some", "", "2", [1]])
def test_what_is_no_choice_of_epochs_is_refused(value):
    with pytest.raises(UsageError, match=r"keep_epochs: must be 'all' or a whole number from 1"):
        SweepSpec(keep_epochs=value, **SPEC)
    with pytest.raises(UsageError, match=r"keep_epochs: must be 'all' or a whole number from 1"):
        rb.train("backprop", "digits", keep_epochs=value)


def test_a_sweep_without_kept_epochs_is_stored_as_before():
    assert "keep_epochs" not in SweepSpec(**SPEC).as_stored()
    assert SweepSpec(keep_epochs="all", **SPEC).as_stored()["keep_epochs"] == "all"
    assert SweepSpec(keep_epochs=2, **SPEC).as_stored()["keep_epochs"] == 2


def test_a_job_of_the_last_epoch_has_the_key_of_today(digits):
    assert job(digits).whole == job(digits)
