"""Every built-in rule keeps the promises of a learning rule; and the tests of those promises can fail."""

import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import robustbench_ekdaa.template
from robustbench_ekdaa.cli import main
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.contract import TESTS, check_rule, rule_maker, run_test
from robustbench_ekdaa.learning.contract.bench import BENCH_NETWORKS, accepted
from robustbench_ekdaa.learning.contract.promises import deviation
from robustbench_ekdaa.learning.rule import Agreement
from robustbench_ekdaa.learning.rules.backprop import Backprop
from robustbench_ekdaa.learning.rules.local_errors import LocalErrors
from robustbench_ekdaa.registry import RULES

VARIANTS = {
    **{name: (name, {}) for name in RULES},
    "sign_symmetry brsf": ("sign_symmetry", {"magnitudes": "brsf"}),
    "sign_symmetry frsf": ("sign_symmetry", {"magnitudes": "frsf"}),
    "ekdaa gamma 1": ("ekdaa", {"gamma": 1.0}),
    "ekdaa normalised": ("ekdaa", {"gamma": 1.0, "normalise_errors": True}),
    "ekdaa transpose": ("ekdaa", {"gamma": 1.0, "error_kernels": "transpose"}),
}
EXEMPT = {
    ("drtp", "zero error"),
    ("predsim", "zero error"),
    ("ekdaa_release", "zero error"),
    ("ekdaa_release", "backprop limit"),
    ("frozen", "every layer"),
    ("frozen", "beats frozen"),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("test", TESTS)
def test_every_rule_keeps_its_contract_or_says_why_it_cannot(digits, variant, test):
    finding = run_test(test, rule_maker(*VARIANTS[variant]), digits)
    assert finding.verdict == ("exempt" if (variant, test) in EXEMPT else "passed"), finding.found
    assert finding.found
    assert "\n" not in finding.found


# Which of the describable networks each rule takes; all that need a derivative refuse signum.
TAKES = {
    **{name: set(BENCH_NETWORKS) - {"signum"} for name in RULES},
    **{name: set(BENCH_NETWORKS) for name in ("ekdaa", "ekdaa_release", "frozen", "straight_through")},
    "pepita": {"one hidden layer", "readout only"},
}


@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_takes_every_network_it_is_defined_for(digits, name):
    assert set(accepted(rule_maker(name, {}), digits)) == TAKES[name]


class Crashing(Backprop):
    def compute_gradients(self, images, labels):
        raise RuntimeError("of its own\nmaking")


class Choosy(Backprop):
    def bind(self, network, generator):
        raise UsageError("never")


class Excused(Crashing):
    exemptions: ClassVar = {"seeded": "because"}


def test_what_goes_wrong_inside_a_rule_becomes_a_finding_of_one_line(digits):
    assert [finding.verdict for finding in check_rule(Crashing, digits)] == ["failed"] * len(TESTS)
    assert run_test("seeded", Crashing, digits).found == "RuntimeError: of its own making"
    assert run_test("any network", Choosy, digits).found == "refuses every network: never"


def test_a_rule_may_declare_itself_exempt_with_a_reason(digits):
    finding = run_test("seeded", Excused, digits)
    assert (finding.verdict, finding.found) == ("exempt", "because")


class Leaves(Backprop):
    def compute_gradients(self, images, labels):
        sys.exit(0)


class Scribbles(Backprop):
    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        images.zero_()
        return step


class Boasts(Backprop):
    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for parameter in self.network.parameters():
            parameter.grad.mul_(2)
        return step

    def approach_backprop(self):
        return Agreement(deviation=1e9)


class LearnsOnlyWithBiases(Backprop):
    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for block in self.network.block_list[:-1]:
            if block.layer.bias is None:
                block.layer.weight.grad = None
        return step


class NeedsNoBiases(Backprop):
    def bind(self, network, generator):
        super().bind(network, generator)
        if network.block_list[-1].layer.bias is not None:
            raise UsageError("no biases here")


@pytest.mark.parametrize(
    ("rule", "test", "found"),
    [
        (Leaves, "seeded", "SystemExit: 0"),
        (Scribbles, "no writes", "compute_gradients writes to the images it is given"),
        (Boasts, "backprop limit", "claims agreement within 1e+09 alone; 1e-02 is the loosest"),
        (LearnsOnlyWithBiases, "every layer", "strides, no pooling, no bias: conv1, conv2 not taught"),
    ],
)
def test_what_a_rule_must_not_get_away_with_is_a_finding(digits, rule, test, found):
    finding = run_test(test, rule, digits)
    assert finding.verdict == "failed"
    assert finding.found.startswith(found)


def test_a_rule_that_writes_to_its_batch_leaves_the_data_of_later_tests_alone(digits):
    before = digits.train.images.clone()
    list(check_rule(Scribbles, digits, tests=("any network", "forward untouched", "no writes", "seeded")))
    assert torch.equal(digits.train.images, before)


def test_a_rule_for_networks_without_biases_alone_keeps_the_contract(digits):
    assert {finding.verdict for finding in check_rule(NeedsNoBiases, digits)} == {"passed"}


def test_a_rule_whose_layers_all_learn_but_for_a_start_at_zero_is_taught_everywhere(digits):
    # With beta = 0 local classifiers start at zero, and so do the first gradients below them.
    assert run_test("every layer", lambda: LocalErrors(beta=0.0), digits).verdict == "passed"


@pytest.mark.parametrize(
    ("exempt", "message"),
    [
        ({"zero eror": "because"}, "unknown contract test in exemptions 'zero eror'. Did you mean zero error"),
        ({"zero error": " "}, "exemptions: 'zero error' has no reason"),
    ],
)
def test_an_exemption_needs_a_known_test_and_a_reason(digits, exempt, message):
    class Exempted(Backprop):
        exemptions: ClassVar = exempt

    with pytest.raises(UsageError, match=message):
        list(check_rule(Exempted, digits))


@pytest.mark.parametrize(("name", "what"), [("ekdaa", "direction"), ("fa", "gradient")])
def test_the_finding_says_whether_sizes_were_compared_or_directions_alone(digits, name, what):
    assert run_test("backprop limit", rule_maker(name, {}), digits).found.startswith(f"every {what} within")


def test_an_unknown_contract_test_is_answered_with_the_nearest(digits):
    with pytest.raises(UsageError, match=r"unknown contract test 'seed'. Did you mean seeded"):
        list(check_rule(Backprop, digits, tests=("seed",)))


PLUGGED_IN = """
import torch
from robustbench_ekdaa.learning.rules.{module} import {parent}

class Mine({parent}):
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for parameter in self.network.parameters():
            parameter.grad.mul_(self.scale)
        return step

def not_a_rule() -> int:
    return 3

class Leaver({parent}):
    def __init__(self):
        raise SystemExit(0)
"""


@pytest.fixture
def check_rule_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(PLUGGED_IN.format(module="backprop", parent="Backprop"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["robustbench-ekdaa", "check-rule", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


def test_a_plugged_in_rule_is_checked_from_its_file(check_rule_command):
    code, out, _ = check_rule_command("mine.py:Mine")
    assert code == 0
    named = [line.split("  ")[0] for line in out.splitlines()[1:] if not line.startswith(" ")]
    assert named == list(TESTS)
    assert out.count("passed") == len(TESTS)


def test_check_rule_ends_with_1_when_a_test_fails(check_rule_command):
    code, out, _ = check_rule_command("mine.py:Mine", "--option", "scale=-1")
    assert code == 1
    assert {line.split("  ")[0] for line in out.splitlines() if "failed" in line} == {"backprop limit", "beats frozen"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ekda"], "unknown rule 'ekda'. Did you mean ekdaa"),
        (["ekdaa", "--option", "bet=1"], "unknown option 'bet'. Did you mean beta"),
        (["ekdaa", "--option", "beta=-1"], "the options of ekdaa.beta: must be greater than 0"),
        (["ekdaa", "--option", "beta"], "--option: cannot read 'beta'. Write KEY=VALUE"),
        (["mine.py:not_a_rule"], "mine.py:not_a_rule: is not a LearningRule"),
        (["mine.py:Main"], "Did you mean Mine"),
        (["mine.py:Leaver"], "mine.py:Leaver: Leaver fails: SystemExit: 0"),
    ],
)
def test_check_rule_refuses_what_it_cannot_check_in_one_line(check_rule_command, arguments, message):
    code, _, err = check_rule_command(*arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_deviation_is_relative_and_may_leave_out_the_scale():
    true = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert deviation(true, true) == 0
    assert deviation(2 * true, true) == pytest.approx(1)
    assert deviation(2 * true, true, up_to_scale=True) == pytest.approx(0, abs=1e-15)
    assert deviation(-true, true, up_to_scale=True) == pytest.approx(2)
    assert deviation(true, 0 * true) == float("inf")
    assert deviation(0 * true, 0 * true) == 0


def test_the_rule_that_the_documentation_writes_out_keeps_the_contract(digits, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "learning-rules.md"
    (tmp_path / "noisy.py").write_text(page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0])
    findings = list(check_rule(rule_maker(f"{tmp_path}/noisy.py:NoisyFeedback", {"tremble": 0.3}), digits))
    assert {finding.test: finding.verdict for finding in findings} == {
        **dict.fromkeys(TESTS, "passed"),
        "backprop limit": "exempt",
    }


def test_the_rule_that_a_new_workspace_starts_with_keeps_the_contract(digits):
    rule = Path(robustbench_ekdaa.template.__file__).parent / "models" / "my_rule.py"
    findings = list(check_rule(rule_maker(f"{rule}:MyRule", {}), digits))
    assert {finding.test: finding.verdict for finding in findings} == {
        **dict.fromkeys(TESTS, "passed"),
        "backprop limit": "exempt",
    }
