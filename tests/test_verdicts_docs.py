"""The page about verdicts tells of every regime, metric and verdict that a comparison may print."""

from pathlib import Path

from robustbench_ekdaa.analysis.comparison import Comparison
from robustbench_ekdaa.analysis.scores import METRICS

from .support.planted import planted

PAGE = " ".join((Path(__file__).parents[1] / "docs" / "verdicts.md").read_text(encoding="utf-8").split())


def test_every_regime_of_a_comparison_is_on_the_page():
    kept = {
        (card, place): 0.5 for card in ("a", "b", "a@sgd", "b@sgd") for place in ("a", "b", "far", "itself", "asked")
    }
    kept |= {("a#1", place): 0.5 for place in ("a", "b", "far", "itself", "asked")}
    outcomes = planted(kept, clean={"a": 0.97, "b": 0.9, "a#1": 0.9}, seeds=2, images=100)
    names = [one.name for one in Comparison(outcomes).verdict("a", "b").regimes]
    for name in names:
        common = name.partition(":")[0].partition(" trained by")[0].partition(" of a's")[0].partition(" of b's")[0]
        assert common in PAGE, name
    assert {"query attack", "equal accuracy: a#1 and b", "same recipe: sgd"} <= set(names)
    assert all(f"`{metric}`" in PAGE for metric in METRICS)


def test_every_verdict_is_on_the_page():
    for words in (
        "no foreign surrogates",
        "harder to fool",
        "equivalent",
        "depends on ...",
        "undecided, about n more seeds would decide",
        "suggestive",
    ):
        assert words in PAGE
