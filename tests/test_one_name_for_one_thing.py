"""A name at the top of a module stands for one thing in the whole package."""

import ast
from collections import defaultdict
from pathlib import Path

import robustbench_ekdaa as rb
from robustbench_ekdaa.registry import COMPONENTS

PACKAGE = Path(rb.__file__).parent
# The Python interface and the command line name the same work as the rooms that do it; each program has its `main`.
LAYERS = {*rb.__all__, "main"}


def defined(source):
    """Yield the public names that a module gives to functions, classes and values."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_no_two_modules_give_one_name_to_two_things():
    places = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in defined(path.read_text(encoding="utf-8")):
            if not name.startswith("_"):
                places[name].append(path.relative_to(PACKAGE).as_posix())
    # A component's function is called what cards call it.
    card_words = {name for registry in COMPONENTS.values() for name in registry}
    elsewhere = {
        name: [path for path in found if "components/" not in path or name not in card_words]
        for name, found in places.items()
    }
    assert {name: found for name, found in elsewhere.items() if len(found) > 1 and name not in LAYERS} == {}
