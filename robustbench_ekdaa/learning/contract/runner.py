"""Putting a rule to the contract tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...computing import ordinary_torch
from ...data.dataset import Dataset
from ...errors import UsageError, unknown_name
from ...registry import RULES, build
from ..rule import LearningRule
from .bench import Broken, Exempt, Make
from .limits import declared_exemptions
from .promises import TESTS


@dataclass(frozen=True)
class RuleFinding:
    """What came of one contract test: its name, the verdict, and one line about what was seen."""

    test: str
    verdict: Literal["passed", "failed", "exempt"]
    found: str


def rule_maker(given: str | type[LearningRule], options: Mapping[str, Any]) -> Make:
    """Return what makes a rule, given by name, FILE.py:CLASS or class; raises UsageError for no rule or option."""
    given = RULES.spelled(given) if isinstance(given, str) else given
    name = given if isinstance(given, str) else getattr(given, "__name__", str(given))
    if not isinstance(given, str) and not (isinstance(given, type) and issubclass(given, LearningRule)):
        raise UsageError(f"{name}: is not a LearningRule; derive it from robustbench_ekdaa.LearningRule")

    def make() -> LearningRule:
        try:
            rule = build(RULES.get(given) if isinstance(given, str) else given, options, f"the options of {name}")
        except SystemExit as error:
            raise UsageError(f"{name}: its code ends the program (SystemExit: {error.code})") from error
        if not isinstance(rule, LearningRule):
            raise UsageError(f"{name}: is not a LearningRule; derive it from robustbench_ekdaa.LearningRule")
        return rule

    make()
    return make


def check_rule(make: Make, dataset: Dataset, tests: tuple[str, ...] | None = None) -> Iterator[RuleFinding]:
    """Put a rule to the contract tests, one after another.

    Args:
        make: makes a fresh rule, with its options; called many times.
        dataset: small images to train on; the digits.
        tests: names of the tests (default: all, see `TESTS`).

    Raises:
        UsageError: for a test nobody knows, here or in the rule's `exemptions`, or an exemption without a reason.

    """
    for name, reason in make().exemptions.items():
        if name not in TESTS:
            raise unknown_name("contract test in exemptions", name, TESTS)
        if not str(reason or "").strip():
            raise UsageError(f"exemptions: {name!r} has no reason. Say why it does not hold; reports print it.")
    for name in TESTS if tests is None else tests:
        if name not in TESTS:
            raise unknown_name("contract test", name, TESTS)
        yield run_test(name, make, dataset)


@ordinary_torch(gradients=True)
def run_test(name: str, make: Make, dataset: Dataset) -> RuleFinding:
    """Run one contract test; whatever goes wrong in the rule becomes a finding."""
    reason = declared_exemptions(make()).get(name)
    if reason is not None:
        return RuleFinding(name, "exempt", reason)
    try:
        return RuleFinding(name, "passed", TESTS[name](make, dataset))
    except Exempt as error:
        return RuleFinding(name, "exempt", str(error))
    except Broken as error:
        return RuleFinding(name, "failed", str(error))
    except (Exception, SystemExit) as error:
        return RuleFinding(name, "failed", " ".join(f"{type(error).__name__}: {error}".split()))
