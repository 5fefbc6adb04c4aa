"""Hyphens and underscores: the package writes underscores, and every name is found in either spelling."""

import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import AttackCard, ModelCard, SweepSpec, Workspace
from robustbench_ekdaa.data import dataset_names, shared_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.contract import rule_maker
from robustbench_ekdaa.networks import network_blocks
from robustbench_ekdaa.registry import COMPONENTS, NETWORKS, RULES
from robustbench_ekdaa.scoring.plan import plan_sweep

from ..support.kept_lines import Lines
from ..support.right_cards import ATTACK, MODEL, write

RELEASED = Path(__file__).parent / "first_release"  # a run on the card kolen-pollack, and what the release exported
TABLE = {
    "kind": "model",
    "name": "mine",
    "rule": "kolen_pollack",
    "network": {"preset": "small_cnn"},
    "training": {"default": {"epochs": 1, "learning_rate": 0.1}},
}
SUITE = 'kind = "suite"\nname = "{}"\nattacks = ["fgsm"]\n'


def model(**fields):
    return ModelCard(**{**TABLE, **fields})


def attack(**fields):
    return AttackCard(kind="attack", name="mine", **fields)


@pytest.fixture
def released(tmp_path):
    return shutil.copytree(RELEASED / "run", tmp_path / "run")


def test_the_packages_own_names_are_written_with_underscores(tmp_path):
    workspace = Workspace(tmp_path)
    shelves = (workspace.models, workspace.attacks, workspace.suites, RULES, NETWORKS, *COMPONENTS.values())
    assert [name for shelf in shelves for name in shelf.names() if "-" in name] == []
    assert "fashion_mnist" in dataset_names()


@pytest.mark.parametrize(
    ("find", "hint"),
    [
        (lambda w: w.models["kolen-pollack"].name, "there is no model kolen-pollack; kolen_pollack is used"),
        (lambda w: w.attacks["mi-fgsm"].name, "there is no attack mi-fgsm; mi_fgsm is used. Write mi_fgsm."),
        (lambda w: w.suites["minimal-norm"].name, "there is no suite minimal-norm; minimal_norm is used"),
        (lambda w: [one.name for one in w.expand_attacks(["fgsm-l1"])], "no attack fgsm-l1; fgsm_l1 is used"),
        (lambda w: w.expand_attacks(["minimal-norm"])[0].name, "no attack minimal-norm; minimal_norm is used"),
        (lambda w: RULES.get("sign-symmetry").__name__, "there is no rule sign-symmetry; sign_symmetry is used"),
        (lambda w: NETWORKS.get("small-cnn").__name__, "there is no network small-cnn; small_cnn is used"),
        (lambda w: model(rule="kolen-pollack").rule, "no rule kolen-pollack; kolen_pollack is used"),
        (lambda w: network_blocks(model(network={"preset": "small-cnn"}).network), "small_cnn is used"),
        (lambda w: rule_maker("straight-through", {}) is not None, "no rule straight-through; straight_through"),
        (lambda w: attack(loss="logit-ratio").loss, "there is no attack loss logit-ratio; logit_ratio is used"),
    ],
)
def test_the_other_spelling_finds_what_is_meant_and_says_so_in_one_line(tmp_path, find, hint):
    with pytest.warns(UserWarning, match="is used") as told:
        assert find(Workspace(tmp_path))
    (line,) = {str(one.message) for one in told}
    assert hint in line
    assert "\n" not in line


def test_a_data_set_is_found_in_either_spelling_and_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(rb.registry.DATASETS, "_registered", {})
    made = rb.load_dataset("digits", "test", 20)
    whole = rb.data.shared_dataset("digits")
    rb.register_dataset("my_digits")(lambda: whole)
    with pytest.warns(UserWarning, match="there is no data set my-digits; my_digits is used"):
        assert len(rb.load_dataset("my-digits", "test", 20)) == len(made)
    with pytest.warns(UserWarning, match="my_digits is used"):
        assert rb.data.shared_dataset("my-digits").name == "my_digits"


def test_a_card_with_exactly_that_name_is_found_silently(tmp_path):
    write(tmp_path, MODEL.replace("mine", "kolen-pollack"), "kolen-pollack")
    models = Workspace(tmp_path).models
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert models["kolen-pollack"].rule == "backprop"
        assert models["kolen_pollack"].rule == "kolen_pollack"


@pytest.mark.parametrize(
    ("room", "text", "kind"),
    [("models", MODEL, "models"), ("attacks", ATTACK, "attacks"), ("attacks", SUITE, "suites")],
)
def test_two_cards_whose_names_differ_in_hyphens_alone_are_refused_with_both_files(tmp_path, room, text, kind):
    for name in ("one-of_two", "one_of-two", "alone"):
        write(tmp_path, text.replace("mine", name).replace("{}", name), name, room)
    shelf = getattr(Workspace(tmp_path), kind)
    for name in ("one-of_two", "one_of-two", "one_of_two"):
        with pytest.raises(
            UsageError,
            match=r"one-of_two.toml.* and .*one_of-two.toml have names that differ in hyphens .* Rename one of them\.$",
        ):
            shelf[name]
    assert shelf["alone"].name == "alone"
    cards, problems = shelf.read_all()
    assert "alone" in [card.name for card in cards]
    assert len(problems) == 1


def test_a_name_in_both_spellings_is_one_card_in_a_sweep(tmp_path):
    names = ["kolen-pollack", "ekdaa", "kolen_pollack"]
    spec = SweepSpec(datasets=["digits"], models=names, attacks=["mi-fgsm", "mi_fgsm"], epsilons=[0.1], seeds=1)
    with pytest.warns(UserWarning, match="is used"):
        plan = plan_sweep(spec, Workspace(tmp_path), shared_dataset("digits"))
    for jobs in (plan.surrogates, plan.targets):
        assert [job.card.name for job in jobs] == ["kolen_pollack", "ekdaa"]
    assert [card.name for _, card in plan.attacks] == ["mi_fgsm"]


def test_an_attack_on_an_ensemble_is_not_crafted_on_one_card_in_two_spellings(tmp_path):
    names = ["kolen-pollack", "kolen_pollack"]
    spec = SweepSpec(datasets=["digits"], models=names, attacks=["ens_fgsm"], epsilons=[0.1], seeds=1)
    with pytest.warns(UserWarning, match="is used"), pytest.raises(UsageError, match="only kolen_pollack"):
        plan_sweep(spec, Workspace(tmp_path), shared_dataset("digits"))


def test_the_identity_is_the_same_in_either_spelling(tmp_path):
    with pytest.warns(UserWarning, match="is used"):
        old = model(rule="kolen-pollack")
    assert old.identity("digits") == model().identity("digits")
    assert old.identity("digits")["rule"] == "kolen-pollack"  # as the keys of the first release have it

    def composed(sign):
        return attack(
            source={"component": f"ensemble{sign}logits"},
            start={"component": f"random{sign}sign"},
            step={"component": f"patch{sign}wise"},
            gradient=[{"component": f"variance{sign}tuning", "neighbours": 3}],
        )

    with pytest.warns(UserWarning, match="is used"):
        assert composed("-").identity() == composed("_").identity()
    assert composed("_").gradient[0].options == {"neighbours": 3}


def test_a_recipe_is_found_in_either_spelling():
    training = {**TABLE["training"], "fashion-mnist": {"epochs": 7, "learning_rate": 0.1}}
    card = model(training=training)
    assert card.recipe("fashion_mnist").epochs == card.recipe("fashion-mnist").epochs == 7
    assert card.at_recipe("fashion_mnist") == "mine: training.fashion-mnist"
    both = model(training={**training, "fashion_mnist": {"epochs": 8, "learning_rate": 0.1}})
    assert both.recipe("fashion_mnist").epochs == 8


def test_a_run_of_the_first_release_shows_its_names_and_numbers(released, tmp_path):
    kinds = {"surrogate_seed": "Int64", "queries": float, "median_norm": float}
    exported = pd.read_csv(RELEASED / "rows.csv").astype(kinds)
    pd.testing.assert_frame_equal(rb.open_results(released).frame(), exported, check_dtype=False, rtol=1e-12)
    page = rb.report(released, tmp_path / "report").read_text(encoding="utf-8")
    assert "kolen-pollack" in page
    with pytest.warns(UserWarning, match="there is no model kolen_pollack; kolen-pollack is used"):
        assert rb.plot_alignment(released, "kolen_pollack")


def test_models_of_the_first_release_are_found_in_either_spelling(released):
    with pytest.warns(UserWarning, match="kolen_pollack is used"):
        old = rb.load_model("kolen-pollack", "digits", run=released)
    new = rb.load_model("kolen_pollack", "digits", run=released)
    assert all((one == other).all() for one, other in zip(old.parameters(), new.parameters(), strict=True))


def test_a_sweep_on_a_run_of_the_first_release_does_nothing_again(released, tmp_path):
    before = {path: path.read_bytes() for path in (released / "checkpoints").iterdir()}
    rows = rb.open_results(released).frame()
    lines = Lines()
    spec = SweepSpec(
        datasets=["digits"], models=["kolen-pollack"], attacks=["fgsm"], epsilons=[0.1], images=20, seeds=1
    )
    with pytest.warns(UserWarning, match="kolen_pollack is used"):
        results = rb.sweep(spec, released, workspace=tmp_path, progress=lines)
    assert any("to do: 0 trainings, 0 craftings, 0 cells" in line for line in lines.lines), lines.lines
    assert {path: path.read_bytes() for path in (released / "checkpoints").iterdir()} == before
    named = ["surrogate", "surrogate_rule", "target", "target_rule"]
    pd.testing.assert_frame_equal(results.frame().drop(columns=named), rows.drop(columns=named))
    assert set(results.frame()[named].to_numpy().ravel()) == {"kolen_pollack"}


def test_models_of_the_first_release_and_of_today_were_trained_with_one_rule(released, tmp_path):
    write(tmp_path, MODEL.replace('"backprop"', '"kolen_pollack"'))
    spec = SweepSpec(datasets=["digits"], models=["mine"], attacks=["fgsm"], epsilons=[0.1], images=20, seeds=2)
    (outcomes,) = rb.sweep(spec, released, workspace=tmp_path).outcomes
    by_rule = {model.rule: key for key, model in outcomes.models.items() if (model.name, model.seed) != ("mine", 0)}
    assert set(by_rule) == {"kolen-pollack", "kolen_pollack"}  # the old model was in no sweep since
    assert outcomes.relation(by_rule["kolen-pollack"], by_rule["kolen_pollack"]) == "same-rule"


def test_what_is_known_of_a_built_in_rule_is_found_under_its_old_name_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RULES.builtin("sign-symmetry") is RULES.builtin("sign_symmetry") is not None
