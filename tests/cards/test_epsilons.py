"""One number, one epsilon: however it is written, whatever type holds it."""

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ekdaa.cards import SweepSpec, read_epsilon, read_epsilons
from robustbench_ekdaa.cards.epsilons import MOST_EPSILONS
from robustbench_ekdaa.cli.parsing import parse_epsilons
from robustbench_ekdaa.errors import UsageError

TENTH = [
    0.1,
    "0.1",
    " .1 ",
    "+1e-1",
    "1/10",
    "0.2/2",
    Decimal("0.1"),
    Fraction(1, 10),
    0.1 + 1e-17,
    np.float64(0.1),
    np.longdouble("0.1"),
    np.float32(0.1),
    np.float16(0.1),
    np.array(0.1, np.float32),
    torch.tensor(0.1),
    torch.tensor(0.1, dtype=torch.float16),
    torch.tensor(0.1, dtype=torch.bfloat16),
    torch.tensor(0.1, dtype=torch.float64),
    torch.tensor(0.1, requires_grad=True),
]


@pytest.mark.parametrize("value", TENTH, ids=repr)
def test_a_tenth_is_a_tenth_in_every_type_and_every_way_to_write_it(value):
    assert read_epsilon(value) == 0.1
    assert type(read_epsilon(value)) is float


@pytest.mark.parametrize("value", [1, "1", "1.", np.int8(1), np.uint64(1), torch.tensor(1), np.array(1)], ids=repr)
def test_whole_numbers_are_epsilons_too(value):
    assert read_epsilon(value) == 1.0


def test_eight_255ths_are_one_number_wherever_they_are_divided():
    values = ["8/255", 8 / 255, Fraction(8, 255), np.float64(8) / 255, "8.0 / 255", "0.031372549020"]
    assert {read_epsilon(value) for value in values} == {round(8 / 255, 12)}


WRONG = [
    None,
    True,
    False,
    np.bool_(True),
    np.array(True),
    torch.tensor(True),
    float("nan"),
    float("inf"),
    -float("inf"),
    Decimal("nan"),
    Decimal("sNaN"),
    Decimal("inf"),
    np.float32("nan"),
    torch.tensor(float("inf")),
    1j,
    np.complex64(1),
    torch.tensor(1j),
    torch.tensor(0.1, device="meta"),
    -1,
    -0.1,
    "-0.1",
    np.float32(-0.1),
    10**5000,
    "1" * 5000,
    "1e1000000",
    1e10,
    Decimal("1e999999"),
    1e-13,
    "1e-13",
    np.float32(1e-13),
    "1e-999",
    Decimal("1e-999999"),
    "",
    "a",
    "0,05",
    "8/0",
    "8/255/2",
    "1_0",
    "٣",
    "nan",
    "inf",
    "0x1",
    [0.1],
    (0.1,),
    {},
    b"0.1",
    np.array([0.1]),
    torch.tensor([0.1]),
    np.array(None),
    np.datetime64("2026-01-01"),
    object(),
]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: ascii(type(value).__name__))
def test_what_is_no_epsilon_is_refused_in_one_short_line(value):
    with pytest.raises(UsageError, match=r"^an epsilon must [^\n]{1,190}$"):
        read_epsilon(value)


ANYTHING = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary(),
    st.decimals() | st.fractions() | st.dates() | st.from_regex(r"[+-]?[0-9.]{0,6}(e-?[0-9]{1,7})?(/[0-9]{0,3})?"),
    st.floats(width=32).map(np.float32) | st.floats(width=16).map(np.float16) | st.floats(width=32).map(torch.tensor),
)


@given(ANYTHING)
def test_anything_is_one_epsilon_that_reads_as_itself_or_a_usage_error(value):
    try:
        epsilon = read_epsilon(value)
    except UsageError:
        return
    assert 0 <= epsilon < float("inf")
    assert read_epsilon(epsilon) == epsilon == read_epsilon(repr(epsilon))


@given(st.integers(0, 10**6), st.integers(0, 5))
def test_a_decimal_that_float32_can_hold_is_the_same_epsilon_in_float32(digits, places):
    written = digits / 10**places
    assert read_epsilon(np.float32(written)) == read_epsilon(torch.tensor(written)) == read_epsilon(written)


@pytest.mark.parametrize("steps", [4, 7, 11, 31, 61])
def test_steps_that_float32_computed_are_the_epsilons_that_were_meant(steps):
    meant = read_epsilons(f"0:0.3:{Fraction(3, 10 * (steps - 1))}")
    assert read_epsilons(torch.linspace(0, 0.3, steps)) == meant
    assert read_epsilons(torch.arange(steps) * torch.tensor(0.3 / (steps - 1))) == meant


def test_a_share_of_255_is_the_same_epsilon_in_float32():
    for number in range(256):
        assert read_epsilon(np.float32(number / 255)) == read_epsilon(f"{number}/255")


def test_a_list_of_epsilons_is_anything_that_holds_them_or_a_text():
    expected = (0.0, 0.1, 0.2, 0.3)
    for values in (
        [0, 0.1, "0.2", Decimal("0.3")],
        np.linspace(0, 0.3, 4, dtype=np.float32),
        torch.tensor([0, 0.1, 0.2, 0.3]),
        iter([0, 0.1, 0.2, 0.3]),
        "0, 0.1, 0.2, 0.3",
        "0:0.3:0.1",
        "0:3/10:1/10",
    ):
        assert read_epsilons(values) == expected


@pytest.mark.parametrize(
    "values",
    [None, 3, 0.1, True, b"0,1", {0.1: 1}, np.float32(0.1), np.zeros((2, 2)), torch.tensor(0.1), [[0.1]], ["0,1"]],
    ids=repr,
)
def test_what_is_no_list_of_epsilons_is_refused(values):
    with pytest.raises(UsageError, match=r"^(must be a list of epsilons|an epsilon must be a number) [^\n]+$"):
        read_epsilons(values)


@pytest.mark.parametrize(
    "values", [count(), [0.1] * 1_000_001, "0:1:1e-9", f"0:{10**6}:1", "0:1e9:1e-999", ",".join(["0.1"] * 1_000_001)]
)
def test_a_million_epsilons_are_refused_at_once(values):
    with pytest.raises(UsageError, match="1,000 epsilons at most"):
        read_epsilons(values)
    assert len(read_epsilons(range(MOST_EPSILONS))) == MOST_EPSILONS


@pytest.mark.parametrize("text", ["0,05", "0,1", "0,5", "0,05,0,1", "0,1,0,2", "00,1", "0.1,05"])
def test_decimals_with_a_comma_are_told_apart_from_lists(text):
    with pytest.raises(UsageError, match=r"^--epsilons: '[^\n]+' looks like decimals with a comma\. Write 0"):
        parse_epsilons(text)


def test_the_hint_about_commas_says_how_to_write_both():
    with pytest.raises(UsageError, match=r"Write 0\.05 with a point; if you mean the epsilons 0 and 05, write 0,5\.0"):
        parse_epsilons("0,05")
    assert parse_epsilons("0,5.0") == [0, 5]
    assert parse_epsilons("0,1.0") == [0, 1]
    assert parse_epsilons("0,1,2") == [0, 1, 2]


def test_epsilons_of_a_sweep_are_read_so_whatever_holds_them():
    facts = {"datasets": ["digits"], "models": ["backprop"], "attacks": ["fgsm"]}
    expected = SweepSpec(epsilons=[0, 0.1, 0.2, 0.3], **facts)
    for epsilons in (np.linspace(0, 0.3, 4, dtype=np.float32), torch.tensor([0.3, 0.2, 0.1]), "0:0.3:0.1"):
        assert SweepSpec(epsilons=epsilons, **facts) == expected
    with pytest.raises(UsageError, match=r"^SweepSpec\.epsilons: an epsilon is given twice"):
        SweepSpec(epsilons=[0.1, np.float32(0.1)], **facts)


def test_reading_epsilons_imports_neither_torch_nor_numpy():
    program = "import sys; from robustbench_ekdaa.cards import read_epsilon; read_epsilon('8/255')"
    subprocess.run(
        [sys.executable, "-c", f"{program}; assert not {{'torch', 'numpy'}} & set(sys.modules)"], check=True, timeout=60
    )
