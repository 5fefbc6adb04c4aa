"""`compare` on a real small sweep of the digits: its numbers by plain loops over stored predictions, and its words."""

import json
import sys
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from scipy.stats import t

import robustbench_ekdaa as rb
from robustbench_ekdaa.cli import main
from robustbench_ekdaa.errors import UsageError

from ..support.made_outcomes import make_outcomes
from ..support.planted import planted
from ..support.quick_models import write_card

MLP = '[[network.blocks]]\nlayer = "linear"\nwidth = 12\n'
FAR = {"far_bp": "backprop", "far_ekdaa": "ekdaa", "far_frozen": "frozen"}
SEEDS, FAR_SEEDS = (0, 1, 2), (0, 1)
REGIMES = [
    "foreign surrogates",
    "foreign surrogates trained by backprop",
    "foreign surrogates trained by ekdaa",
    "foreign surrogates trained by frozen",
    "all surrogates alike",
    "surrogates of quick_ekdaa's kind",
    "surrogates of quick_bp's kind",
    "strongest surrogate per image",
    "white-box",
    "minimal norm",
    "common images",
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A run folder with two targets of three seeds and three foreign surrogates of two."""
    folder = tmp_path_factory.mktemp("compare")
    write_card(folder, "quick_bp", "backprop")
    write_card(folder, "quick_ekdaa", "ekdaa")
    for name, rule in FAR.items():
        write_card(folder, name, rule, top='role = "surrogate"')
        path = folder / "models" / f"{name}.toml"
        text = path.read_text()
        path.write_text(text[: text.index("[network]")] + MLP + text[text.index("[training") :])
    spec = rb.SweepSpec(
        datasets=("digits",),
        models=("quick_bp", "quick_ekdaa"),
        surrogates=("quick_bp", "quick_ekdaa", *FAR),
        surrogate_seeds=2,
        attacks=("fgsm", "deepfool_linf"),
        epsilons=(0, 0.1, 0.2, 0.3),
        verdict_epsilon=0.1,
        images=60,
        seeds=3,
    )
    rb.sweep(spec, folder / "run", workspace=folder)
    return folder / "run"


@pytest.fixture
def shown(monkeypatch, capsys):
    """Run a command; returns (exit code, output, errors)."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["robustbench-ekdaa", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


@pytest.fixture
def facts(swept):
    """Whether a target is right before and under all attacks from a surrogate, by (card, seed) twice: (N,) each."""
    (outcomes,) = rb.open_results(swept).outcomes
    right = {}
    for cell in outcomes.cells:
        if cell.epsilon != 0.1:
            continue
        target, surrogate = outcomes.models[cell.target], outcomes.models[cell.surrogate]
        place = (target.name, target.seed), (surrogate.name, surrogate.seed)
        before = right.get(place, outcomes.clean[cell.target] == outcomes.labels)
        right[place] = before & (cell.predictions == outcomes.labels)
    return right


def looped(facts, cards, *, without=None, own=None, image=None):
    """The share that quick_ekdaa keeps minus that of quick_bp, by loops over seeds and surrogates."""
    kept = defaultdict(list)
    for card, seed in product(("quick_ekdaa", "quick_bp"), SEEDS):
        if seed == without or (own is not None and seed != own):
            continue
        by_card = []
        for surrogate in cards:
            others = [other for other in FAR_SEEDS if other != seed]
            chosen = [other for other in others if other != without] or others
            shares = [facts[(card, seed), (surrogate, other)] for other in chosen]
            by_card.append(np.mean([share.mean() if image is None else share[image] for share in shares]))
        kept[card].append(np.mean(by_card))
    return np.mean(kept["quick_ekdaa"]) - np.mean(kept["quick_bp"])


@pytest.mark.parametrize(
    ("name", "cards"),
    [
        ("foreign surrogates", FAR),
        ("foreign surrogates trained by ekdaa", ["far_ekdaa"]),
        ("all surrogates alike", ["quick_bp", "quick_ekdaa", *FAR]),
        ("surrogates of quick_bp's kind", ["quick_bp"]),
    ],
)
def test_a_real_runs_differences_and_intervals_are_those_of_plain_loops(swept, facts, name, cards):
    found = {one.name: one for one in rb.compare(swept, "quick_ekdaa", "quick_bp").regimes}[name]
    middle = looped(facts, cards)
    by_image = np.array([looped(facts, cards, image=image) for image in range(60)])
    v_images = by_image.var(ddof=1) / 60
    without = np.array([looped(facts, cards, without=seed) for seed in SEEDS])
    by_seed = np.array([looped(facts, cards, own=seed) for seed in SEEDS])
    v_seeds = max(2 / 3 * ((without - without.mean()) ** 2).sum(), by_seed.var(ddof=1) / 3)
    freedom = (v_images + v_seeds) ** 2 / (v_images**2 / 59 + v_seeds**2 / 2)
    half = t.ppf(0.975, freedom) * (v_images + v_seeds) ** 0.5
    assert found.difference == pytest.approx(middle, abs=1e-6)
    # With 60 images it may be wider, never narrower.
    assert found.low <= max(middle - half, -1) + 1e-6
    assert found.high >= min(middle + half, 1) - 1e-6
    assert (found.image_variance, found.seed_variance) == pytest.approx((v_images, v_seeds), rel=1e-4)
    assert (found.n_seeds, found.n_images) == (3, 60)


def test_the_anchors_are_the_attacks_on_the_target_itself(swept, facts):
    found = {one.name: one for one in rb.compare(swept, "quick_ekdaa", "quick_bp").regimes}["white-box"]
    shares = {
        card: np.mean([facts[(card, seed), (card, seed)].mean() for seed in FAR_SEEDS])
        for card in ("quick_ekdaa", "quick_bp")
    }
    assert found.difference == pytest.approx(shares["quick_ekdaa"] - shares["quick_bp"], abs=1e-6)
    assert found.n_seeds == 2  # nothing was crafted on the third


def test_the_command_says_the_verdict_first_then_all_regimes_and_what_to_know(shown, swept):
    code, out, error = shown("compare", swept, "quick_ekdaa", "quick_bp")
    assert code == 0, error
    verdict = rb.compare(swept, "quick_ekdaa", "quick_bp")
    assert out.startswith(verdict.sentence.partition(" Under")[0])
    assert "(digits, linf, ε = 0.1, accuracy under attack): " in out.splitlines()[0]
    below = out.partition("attacks from")[2]
    assert all(name in below for name in REGIMES)
    assert below.index(REGIMES[0]) < min(below.index(name) for name in REGIMES[4:])
    assert "The epsilon is the one that the sweep declares." in out
    assert "Not swept: query attack." in out


def test_json_holds_the_verdict_and_every_regime(shown, swept):
    code, out, _ = shown("compare", swept, "quick_ekdaa", "quick_bp", "--json")
    told = json.loads(out)
    assert code == 0
    assert {"verdict", "norm", "epsilon", "metric", "regimes"} <= set(told)
    assert (told["norm"], told["epsilon"], told["metric"]) == ("linf", 0.1, "accuracy")
    assert told["regimes"][0]["name"] == "foreign surrogates"
    assert sorted(one["name"] for one in told["regimes"]) == sorted(REGIMES)
    fields = {"name", "difference", "low", "high", "p", "p_better", "n_seeds", "n_images"}
    assert all(set(one) == fields for one in told["regimes"])
    assert all(one["low"] <= one["difference"] <= one["high"] for one in told["regimes"])
    assert told == rb.compare(swept, "quick_ekdaa", "quick_bp").as_json()


def test_without_names_all_pairs_are_compared(shown, swept):
    code, out, error = shown("compare", swept)
    assert code == 0, error
    assert "Row minus column" in out
    told = json.loads(shown("compare", swept, "--json")[1])
    assert [(one["first"], one["second"]) for one in told] == [("quick_bp", "quick_ekdaa")]


@pytest.mark.parametrize("metric", ["accuracy", "area", "asr-common", "minimal-norm"])
def test_every_metric_has_its_regimes(shown, swept, metric):
    code, out, error = shown("compare", swept, "quick_bp", "quick_ekdaa", "--metric", metric, "--json")
    assert code == 0, error
    told = json.loads(out)
    assert told["metric"] == metric
    assert (told["epsilon"] is None) == (metric in ("area", "minimal-norm"))
    names = [one["name"] for one in told["regimes"]]
    assert {"foreign surrogates", "white-box"} <= set(names)
    assert all(-1 <= one["low"] <= one["high"] <= 1 for one in told["regimes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quick_bp", "quick_ekda"), "Did you mean quick_ekdaa"),
        (("quick_bp", "far_bp"), "unknown model in this run 'far_bp'"),  # a surrogate, no target
        (("quick_bp", "quick_bp"), "quick_bp cannot be compared with itself"),
        (("quick_bp",), "name two models, or none for all pairs"),
        (("quick_bp", "quick_ekdaa", "--epsilon", "0.15"), "epsilon 0.15 was not scored"),
        (("quick_bp", "quick_ekdaa", "--epsilon", "much"), "an epsilon must be a number"),
        (("quick_bp", "quick_ekdaa", "--norm", "l2"), "unknown norm 'l2'"),
        (("quick_bp", "quick_ekdaa", "--metric", "speed"), "unknown metric 'speed'"),
        (("quick_bp", "quick_ekdaa", "--metric", "area", "--epsilon", "0.1"), "an epsilon has no meaning"),
        (("quick_bp", "quick_ekdaa", "--dataset", "mnist"), "unknown data set"),
    ],
)
def test_what_the_run_does_not_hold_is_one_line_and_exit_code_2(shown, swept, words, message):
    code, out, error = shown("compare", swept, *words)
    assert (code, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_without_a_run_is_one_line_and_exit_code_2(shown, tmp_path):
    code, out, error = shown("compare", tmp_path / "nowhere", "a", "b")
    assert (code, out, error.count("\n")) == (2, "", 1)


def test_a_metric_that_was_not_swept_is_refused():
    results = rb.Results([planted({(card, "far"): 0.5 for card in "ab"})])
    with pytest.raises(UsageError, match="no minimal-norm attack was finished on all pairs"):
        results.compare("a", "b", metric="minimal-norm")


def test_cards_without_a_common_image_are_not_compared_on_common_images():
    labels = np.zeros(4, int)
    clean = {"a0": [0, 0, 1, 1], "b0": [1, 1, 0, 0]}
    predictions = {(one, other, "fgsm", 0.1): labels for one in clean for other in clean}
    results = rb.Results([make_outcomes([("a", 0), ("b", 0)], labels, clean, predictions)])
    with pytest.raises(UsageError, match="no image is right for all models of both"):
        results.compare("a", "b", metric="asr-common")
    assert "common images" not in [one.name for one in results.compare("a", "b").regimes]


def test_of_several_data_sets_one_has_to_be_named():
    parts = [planted({(card, "far"): 0.5 for card in "ab"}, images=100, dataset=name) for name in ("one", "two")]
    results = rb.Results(parts)
    with pytest.raises(UsageError, match=r"several data sets here; name one with dataset \(one, two\)"):
        results.compare("a", "b")
    assert results.compare("a", "b", dataset="two").dataset == "two"


@pytest.mark.parametrize(
    ("given", "stored"),
    [("0.1", dict.fromkeys(("linf", "l2", "l1"), 0.1)), ({"linf": "1/10"}, {"linf": 0.1}), ({}, None)],
)
def test_the_declared_epsilon_is_a_number_or_one_by_norm(given, stored):
    facts = {"datasets": ("digits",), "models": ("backprop",), "attacks": ("fgsm",), "epsilons": (0, 0.1)}
    assert rb.SweepSpec(**facts, verdict_epsilon=given).as_stored().get("verdict_epsilon") == stored


def test_a_declared_epsilon_that_is_not_swept_is_refused():
    facts = {"datasets": ("digits",), "models": ("backprop",), "attacks": ("fgsm",), "epsilons": (0, 0.1)}
    for wrong in (0.2, 0, {"linf": 0.3}):
        with pytest.raises(UsageError, match="verdict_epsilon must be one of the epsilons above 0"):
            rb.SweepSpec(**facts, verdict_epsilon=wrong)


def test_a_folder_its_results_and_a_benchmark_give_the_same_verdict(swept):
    one = rb.compare(swept, "quick_bp", "quick_ekdaa", metric="area")
    assert rb.compare(rb.open_results(swept), "quick_bp", "quick_ekdaa", metric="area") == one
    assert rb.Benchmark(swept, device="cpu").compare("quick_bp", "quick_ekdaa", metric="area") == one
