"""Names to factories, and options checked against signatures."""

import os
import re
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.listing import LISTINGS
from robustbench_ekdaa.registry import NETWORKS, RULES, Registry, build

LOADS_ITSELF = """
from pathlib import Path
from robustbench_ekdaa.registry import load_from_file
A = load_from_file("plugin.py:A", Path(__file__).parent)
"""


class Thing:
    def __init__(self, network: int = 0, *, size: Annotated[float, Field(gt=0)], mode: str = "a") -> None:
        self.facts = (network, size, mode)


def test_options_are_checked_by_name_type_and_range_and_the_card_and_field_are_named():
    assert build(Thing, {"size": 2}, "card: options", network=7).facts == (7, 2.0, "a")
    for options, message in [
        ({"size": -1}, "card: options.size: must be greater than 0 (got -1)"),
        ({"size": "big"}, "card: options.size: must be a valid number"),
        ({"sise": 1}, "card: options: unknown option 'sise'. Did you mean size?"),
        ({}, "card: options: the option size is missing"),
        ({"size": 1, "network": 3}, "card: options: unknown option 'network'"),
    ]:
        with pytest.raises(UsageError) as caught:
            build(Thing, options, "card: options", network=7)
        assert str(caught.value).startswith(message)


def test_every_builtin_rule_and_network_can_be_had():
    for registry in (RULES, NETWORKS):
        assert all(callable(registry.get(name)) for name in registry)


def test_a_decorated_factory_is_known_by_its_name():
    @rb.register_network("tiny_for_this_test")
    def tiny():
        return []

    assert NETWORKS.get("tiny_for_this_test") is tiny
    assert "tiny_for_this_test" in NETWORKS.names()


def test_a_file_is_imported_once_per_content(tmp_path):
    registry = Registry("thing", {})
    path = tmp_path / "plugin.py"
    path.write_text("class A: number = 1\n")
    first = registry.get("plugin.py:A", tmp_path)
    assert registry.get("plugin.py:A", tmp_path) is first
    path.write_text("class A: number = 2\n")
    assert registry.get("plugin.py:A", tmp_path).number == 2


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("class Mine: pass", "plugin.py:Mien", "unknown class in plugin.py 'Mien'. Did you mean Mine?"),
        ("import nothing_of_that_name", "plugin.py:A", "could not be imported: ModuleNotFoundError"),
        ("1 +", "plugin.py:A", "could not be imported: SyntaxError"),
        ("1 / 0", "plugin.py:A", "could not be imported: ZeroDivisionError: division by zero"),
        ("raise ValueError('one\\ntwo\\x1b[31m')", "plugin.py:A", "imported: ValueError: one two\\x1b[31m"),
        ("raise RuntimeError('a' * 10_000)", "plugin.py:A", "could not be imported: RuntimeError: aaa"),
        ("import sys; sys.exit(0)", "plugin.py:A", "could not be imported: SystemExit: 0"),
        ("raise SystemExit", "plugin.py:A", "could not be imported: SystemExit"),
        ("class E(Exception):\n def __str__(self): raise self\nraise E", "plugin.py:A", "could not be imported: E"),
        ("def f(): f()\nf()", "plugin.py:A", "could not be imported: RecursionError"),
        (LOADS_ITSELF, "plugin.py:A", "it imports itself while it is being imported"),
        (b"A = '\xff'", "plugin.py:A", "could not be imported: SyntaxError"),
        (b"\x00", "plugin.py:A", "could not be imported: "),
        ("A = 3", "plugin.py:A", "plugin.py:A: must be a class or function (got 3)"),
        ("A = None", "plugin.py:A", "plugin.py:A: must be a class or function (got None)"),
        ("", "plugin.py:A", "unknown class in plugin.py 'A'"),
        ("", "plugin.py:", "unknown class in plugin.py ''"),
        ("", "absent.py:A", "there is no file"),
        ("", "folder.py:A", "folder.py: cannot be read (it is a folder)"),
        ("", "pipe.py:A", "pipe.py: cannot be read (it is a pipe)"),
        ("", "nowhere.py:A", "nowhere.py: cannot be read (it is a link that leads nowhere)"),
        ("", "loop.py:A", "loop.py: cannot be read (Too many levels of symbolic links)"),
        ("", "zeros.py:A", "zeros.py: cannot be read (it is a device)"),
        ("", "large.py:A", "large.py: is too large (10 MB at most)"),
        ("", "~nobody_of_that_name/x.py:A", "there is no file"),
        ("", "\0.py:A", "there is no file"),
        ("", f"{'a' * 300}.py:A", "cannot be read (File name too long)"),
    ],
)
def test_a_file_that_does_not_hold_it_is_one_clear_line(tmp_path, content, name, message):
    (tmp_path / "plugin.py").write_bytes(content.encode() if isinstance(content, str) else content)
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    for link, end in (("nowhere", "absent"), ("loop", "loop.py"), ("zeros", "/dev/zero")):
        (tmp_path / f"{link}.py").symlink_to(end)
    with (tmp_path / "large.py").open("wb") as file:
        file.truncate(2**30)
    for _ in range(2):  # what failed once is not kept half done
        with pytest.raises(UsageError) as caught:
            Registry("thing", {}).get(name, tmp_path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


def test_files_of_one_name_in_different_folders_are_different_modules(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin.py").write_text("class A: pass\n")
    (tmp_path / "socket.py").write_text("class A: pass\n")  # called as one of Python's own
    registry = Registry("thing", {})
    one, two = (registry.get("plugin.py:A", tmp_path / folder) for folder in ("one", "two"))
    assert one is not two
    assert one.__module__ != two.__module__
    assert registry.get("socket.py:A", tmp_path) is not registry.get("plugin.py:A", tmp_path / "one")
    import socket

    assert hasattr(socket, "socket")


def test_files_that_ask_for_one_another_are_one_clear_line(tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.py").write_text(LOADS_ITSELF.replace("plugin.py", f"{other}.py"))
    with pytest.raises(UsageError, match=r"^[^\n]+it imports itself while it is being imported$"):
        Registry("thing", {}).get("one.py:A", tmp_path)


def test_ctrl_c_while_a_file_is_imported_stops_and_leaves_nothing_half_done(tmp_path):
    (tmp_path / "plugin.py").write_text("raise KeyboardInterrupt")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Registry("thing", {}).get("plugin.py:A", tmp_path)


def test_what_a_plugin_of_another_package_does_while_it_is_imported_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "broken_for_this_test.py").write_text("NUMBER = 3\nimport sys\nif len(sys.path) > 10**6: pass\n")
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[robustbench_ekdaa.rules]\nnumber = broken_for_this_test:NUMBER\nabsent = broken_for_this_test:absent\n"
        "module = no_such_module_for_this_test:A\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, message in (
        ("number", "must be a class or function (got 3)"),
        ("absent", "could not be imported: AttributeError"),
        ("module", "could not be imported: ModuleNotFoundError"),
    ):
        with pytest.raises(UsageError, match=rf"^{name}: [^\n]*{re.escape(message)}"):
            RULES.get(name)
    rows = {row["name"]: row["description"] for row in LISTINGS["rules"](Workspace())}
    assert rows["backprop"]
    assert "must be a class or function" in rows["number"]  # the others are listed all the same


def test_only_classes_and_functions_can_be_registered():
    with pytest.raises(UsageError, match=r"^network 'three': must be a class or function \(got 3\)$"):
        rb.register_network("three")(3)


def typed(
    *,
    number: float = 0.0,
    count: int = 0,
    flag: bool = False,
    text: str = "",
    pair: tuple[int, float] = (0, 0.0),
    choice: Literal["a", "b"] = "a",
    anything: Any = None,
    untyped=None,
) -> tuple[Any, ...]:
    """Return what it is given."""
    return number, count, flag, text, pair, choice, anything, untyped


def test_an_option_is_of_its_own_type_but_a_whole_number_will_do_for_a_float():
    options = {"number": 1, "pair": [1, 2], "flag": True, "anything": {"a": [1]}, "untyped": "x", "choice": "b"}
    assert build(typed, options, "here") == (1.0, 0, True, "", (1, 2.0), "b", {"a": [1]}, "x")
    for options, message in [
        ({"number": True}, "here.number: must be a valid number (got True)"),
        ({"number": "1"}, "here.number: must be a valid number (got '1')"),
        ({"count": True}, "here.count: must be a valid integer (got True)"),
        ({"count": 1.0}, "here.count: must be a valid integer (got 1.0)"),
        ({"flag": 1}, "here.flag: must be true or false (got 1)"),
        ({"flag": "true"}, "here.flag: must be true or false (got 'true')"),
        ({"text": 1}, "here.text: must be text (got 1)"),
        ({"pair": [1, "2"]}, "here.pair.1: must be a valid number (got '2')"),
        ({"pair": 1}, "here.pair: must be a list (got 1)"),
        ({"choice": "c"}, "here.choice: must be 'a' or 'b' (got 'c')"),
        ({"untyped": date(2026, 1, 1)}, "here.untyped: must be a finite number, text, list or table (got 2026-01-01)"),
    ]:
        with pytest.raises(UsageError) as caught:
            build(typed, options, "here")
        assert str(caught.value).startswith(message)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_options_arrive_to_the_bit(number, count):
    assert build(typed, {"number": number, "count": count}, "here")[:2] == (number, count)


def test_a_factory_whose_annotations_cannot_be_resolved_is_called_without_checks(tmp_path):
    (tmp_path / "plugin.py").write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from nowhere import X\ndef made(x: X = 1): return x\n"
    )
    assert build(Registry("thing", {}).get("plugin.py:made", tmp_path), {"x": 2}, "here") == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no\\nsuch')", "here: made fails: ValueError: no such"),
        ("import sys; sys.exit(0)", "here: made fails: SystemExit: 0"),
    ],
)
def test_what_a_factory_raises_is_one_clear_line(tmp_path, body, message):
    (tmp_path / "plugin.py").write_text(f"def made(x=1):\n    {body}\n")
    with pytest.raises(UsageError) as caught:
        build(Registry("thing", {}).get("plugin.py:made", tmp_path), {"x": 2}, "here")
    assert str(caught.value) == message


def test_a_class_that_does_not_say_what_it_takes_is_refused():
    with pytest.raises(UsageError, match="does not say which arguments it takes"):
        build(dict, {"x": 1}, "here")


@pytest.mark.parametrize("name", [list, "", " ", "a\nb", None, "a.py:b"])
def test_what_is_no_name_is_not_registered(name):
    with pytest.raises(UsageError, match="is no name for a rule"):
        rb.register_rule(name)
