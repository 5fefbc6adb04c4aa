"""Suites: in attacks/suites/ or among the attacks, of attacks and of suites, each attack once and in order."""

import pytest

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError

from ..support.right_cards import ATTACK, write

ROOM = "attacks/suites"


def suite(folder, name, *members, room=ROOM):
    (folder / "attacks").mkdir(exist_ok=True)
    named = ", ".join(f'"{member}"' for member in members)
    return write(folder, f'kind = "suite"\nname = "{name}"\nattacks = [{named}]\n', name, room)


def expanded(folder, *names):
    return [card.name for card in Workspace(folder).expand_attacks(names)]


@pytest.mark.parametrize("room", [ROOM, "attacks"])
def test_a_suite_is_found_in_its_own_folder_and_among_the_attacks(tmp_path, room):
    suite(tmp_path, "mine", "bim", "fgsm", room=room)
    assert Workspace(tmp_path).suites["mine"].attacks == ("bim", "fgsm")
    assert "mine" not in Workspace(tmp_path).attacks.names()
    assert expanded(tmp_path, "mine") == ["bim", "fgsm"]


def test_a_suite_of_suites_has_every_attack_once_where_it_is_named_first(tmp_path):
    suite(tmp_path, "outer", "pgd", "inner", "bim", "paper")
    suite(tmp_path, "inner", "mi_fgsm", "fgsm", "pgd")
    assert expanded(tmp_path, "outer") == ["pgd", "mi_fgsm", "fgsm", "bim"]
    assert expanded(tmp_path, "noise", "inner", "outer", "noise") == ["noise", "mi_fgsm", "fgsm", "pgd", "bim"]


def test_the_suite_everything_is_the_suites_that_it_names(tmp_path):
    names = ("transfer", "strong", "mi_fgsm_targeted", "noise")
    assert expanded(tmp_path, "everything") == expanded(tmp_path, *names)
    assert len(expanded(tmp_path, "everything")) == 28


@pytest.mark.parametrize(
    ("links", "asked", "told"),
    [
        ({"a": ["a"]}, "a", r"attacks/suites/a\.toml: attacks: suites name one another in a circle \(a, a\)"),
        ({"a": ["fgsm", "b"], "b": ["a"]}, "a", r"suites/b\.toml: attacks: .* in a circle \(a, b, a\)\. Take"),
        ({"a": ["b"], "b": ["c"], "c": ["fgsm", "b"]}, "a", r"suites/c\.toml: attacks: .* in a circle \(b, c, b\)\. "),
        ({"one-two": ["b"], "b": ["one_two"]}, "b", r"suites/one-two\.toml: attacks: .*\(b, one-two, b\)\. Take"),
    ],
)
@pytest.mark.filterwarnings("ignore:there is no attack")
def test_suites_in_a_circle_are_refused_with_their_names_and_the_file(tmp_path, monkeypatch, links, asked, told):
    monkeypatch.chdir(tmp_path)
    for name, members in links.items():
        suite(tmp_path, name, *members)
    with pytest.raises(UsageError, match=told) as caught:
        Workspace(".").expand_attacks(["bim", asked])
    assert "\n" not in str(caught.value)


def test_a_long_chain_and_a_lattice_of_suites_are_no_circle_and_take_no_time(tmp_path):
    for number in range(1500):
        suite(tmp_path, f"s{number}", f"s{number + 1}", f"s{number + 1}", "fgsm")
    suite(tmp_path, "s1500", "bim")
    assert expanded(tmp_path, "s0") == ["bim", "fgsm"]


def test_what_a_suite_names_and_nobody_knows_is_told_with_the_innermost_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suite(tmp_path, "outer", "inner")
    suite(tmp_path, "inner", "fgsm", "fgms")
    with pytest.raises(UsageError, match=r"^attacks/suites/inner\.toml: attacks: unknown attack 'fgms'\. Did you mean"):
        Workspace(".").expand_attacks(["outer"])


def test_an_attack_and_a_suite_of_one_name_are_refused_with_both_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, ATTACK, room="attacks")
    suite(tmp_path, "mine", "fgsm")
    with pytest.raises(
        UsageError, match=r"^attacks/mine\.toml and attacks/suites/mine\.toml have one name\. Rename one"
    ):
        Workspace(".").expand_attacks(["mine"])
    assert expanded(".", "paper") == ["fgsm", "bim"]


def test_a_suite_of_the_workspace_goes_before_an_attack_and_a_suite_of_the_package(tmp_path):
    suite(tmp_path, "fgsm", "bim")
    suite(tmp_path, "paper", "noise", room="attacks")
    assert expanded(tmp_path, "fgsm", "paper") == ["bim", "noise"]


def test_a_file_of_another_kind_among_the_suites_is_told_where_it_belongs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attacks").mkdir()
    write(tmp_path, ATTACK, room=ROOM)
    with pytest.raises(
        UsageError, match=r"^attacks/suites/mine\.toml: kind: a card of kind 'attack' belongs in attacks/"
    ):
        Workspace(".").expand_attacks(["mine"])
