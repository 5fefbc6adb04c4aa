"""The pages about attacks: their tables are those of the cards, their examples run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.registry import COMPONENTS, register_component

ROOT = Path(__file__).parents[2]
GUIDE, CARDS = ((ROOT / "docs" / "attacks" / name).read_text(encoding="utf-8") for name in ("README.md", "cards.md"))


@pytest.fixture(autouse=True)
def built_in_alone(monkeypatch):
    """Forget what other tests registered, and afterwards what these did."""
    for registry in COMPONENTS.values():
        monkeypatch.setattr(registry, "_registered", {})


def test_the_tables_are_what_the_command_beside_them_writes():
    place = importlib.util.spec_from_file_location("attack_cards", ROOT / "benchmarks" / "attack_cards.py")
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    assert script.filled(CARDS) == CARDS


@pytest.fixture
def written(tmp_path):
    """A workspace that holds the files the page writes out."""
    room = tmp_path / "attacks"
    (room / "suites").mkdir(parents=True)
    for block in re.findall(r"```(?:python|toml)\n(.*?)```", GUIDE, re.DOTALL):
        named = re.match(r"# attacks/(\S+)|.*^name = \"(\w+)\"", block, re.DOTALL | re.MULTILINE)
        if (named and "kind" in block) or "register_component(" in block:
            (room / (named[1] or f"{named[2]}.toml")).write_text(block)
    assert len([path for path in room.rglob("*") if path.is_file()]) == 4
    return Workspace(tmp_path)


def test_the_card_that_the_page_writes_out_runs_without_code(written, make_network, digits):
    images, labels = digits[0][:4], digits[1][:4]
    networks = [make_network(1, seed=seed) for seed in range(2)]
    crafted = next(craft(written.attacks["everything_at_once"], networks, images, labels, [0.1]))
    assert float((crafted.images - images).abs().max()) == pytest.approx(0.1, abs=1e-6)


def test_the_suite_that_the_page_writes_out_names_a_suite_and_the_card_of_the_page(written):
    attacks = written.expand_attacks(["my_favourites"])
    assert [attack.name for attack in attacks] == ["fgsm", "bim", "everything_at_once"]


def test_the_component_that_the_page_writes_out_keeps_the_guarantees(written, case):
    module, images, labels = case
    attack = written.attacks["noisy_mi_fgsm"]
    together = next(craft(attack, [module], images, labels, [0.1])).images
    assert float((together - images).abs().max()) <= 0.1 + 1e-6
    assert float(
        (together - next(craft(written.attacks["mi_fgsm"], [module], images, labels, [0.1])).images).abs().max()
    )
    alone = next(craft(attack, [module], images[5:7], labels[5:7], [0.1], indices=[5, 6])).images
    assert float(((alone - together[5:7]).abs() < 1e-5).float().mean()) > 0.97
    before, after = (float((module(each).argmax(1) == labels).float().mean()) for each in (images, together))
    assert after < before - 0.3


def test_a_registered_component_is_known_to_cards_by_its_name_alone(written, card, case):
    module, images, labels = case
    next(craft(written.attacks["noisy_mi_fgsm"], [module], images, labels, [0.1]))
    named = card(input=[{"component": "noisy", "copies": 2}])
    assert next(craft(named, [module], images, labels, [0.1])).images.shape == images.shape
    with pytest.raises(UsageError, match=r"input\.0\.copies: must be greater than or equal to 1"):
        craft(card(input=[{"component": "noisy", "copies": 0}]), [module], images, labels, [0.1])


def test_a_component_needs_a_role_there_is():
    with pytest.raises(UsageError, match=r"unknown role of a component 'inputs'\. Did you mean input"):
        register_component("inputs", "mine")
