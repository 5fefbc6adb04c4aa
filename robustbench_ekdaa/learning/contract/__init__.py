"""What every learning rule promises, as tests: used by `check-rule` and by the test suite alike."""

from .limits import declared_exemptions
from .promises import TESTS
from .runner import RuleFinding, check_rule, rule_maker, run_test

__all__ = ["TESTS", "RuleFinding", "check_rule", "declared_exemptions", "rule_maker", "run_test"]
