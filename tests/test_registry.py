"""Names to factories, and options checked against signatures."""

from typing import Annotated

import pytest
from pydantic import Field

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.registry import NETWORKS, RULES, Registry, build


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
        ("", "absent.py:A", "there is no file"),
    ],
)
def test_a_file_that_does_not_hold_it_is_one_clear_line(tmp_path, content, name, message):
    (tmp_path / "plugin.py").write_text(content)
    with pytest.raises(UsageError) as caught:
        Registry("thing", {}).get(name, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [list, "", " ", "a\nb", None, "a.py:b"])
def test_what_is_no_name_is_not_registered(name):
    with pytest.raises(UsageError, match="is no name of a rule"):
        rb.register_rule(name)
