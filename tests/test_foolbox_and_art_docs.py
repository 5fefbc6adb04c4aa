"""The page for users of Foolbox and ART: what it writes out runs as it stands there."""

import re
from pathlib import Path

import pytest

from robustbench_ekdaa.cli.app import app
from robustbench_ekdaa.crafting import load_adversarial

from .support.quick_models import write_card

PAGE = (Path(__file__).parents[1] / "docs" / "foolbox-and-art.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The names that the page's code leaves, run in a workspace whose cards are quick to train."""
    folder = tmp_path_factory.mktemp("peers")
    for rule in ("backprop", "ekdaa"):
        write_card(folder, rule, rule, rate=0.2)
    code, names = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "docs/foolbox-and-art.md", "exec"), names)
    return {**names, "folder": folder}


@pytest.mark.parametrize("library", ["foolbox", "art"])
def test_what_a_library_crafts_on_our_model_fools_it_when_it_is_scored_here(found, library):
    rows = found[f"{library}_rows"]
    assert set(rows["target"]) == {"backprop", "ekdaa"}
    assert set(rows["relation"]) == {"unknown"}
    own = rows[rows["target"] == "backprop"].set_index("epsilon")["accuracy"]
    assert own[0.0] > 0.4
    assert own[0.2] < own[0.1] < own[0.0] - 0.1


@pytest.mark.parametrize("library", ["foolbox", "art"])
def test_the_scores_are_what_the_model_says_of_the_file(found, library):
    saved = load_adversarial(found["folder"] / f"{library}_pgd.npz")
    rows = found[f"{library}_rows"]
    for images, epsilon in zip(saved.images, saved.epsilons, strict=True):
        right = (found["network"](images).argmax(1) == found["labels"]).float().mean()
        row = rows[(rows["target"] == "backprop") & (rows["epsilon"] == epsilon)].iloc[0]
        assert row["accuracy"] == pytest.approx(float(right))


def test_the_command_of_the_page_is_one():
    (command,) = re.findall(r"^    robustbench-ekdaa (.*)$", PAGE, re.MULTILINE)
    name, *words = command.split()
    (known,) = [one for one in app.registered_commands if one.callback.__name__ == name]
    options = {f"--{field.replace('_', '-')}" for field in known.callback.__annotations__}
    assert {word for word in words if word.startswith("--")} <= options
