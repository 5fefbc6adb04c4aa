"""Everything that the package's face offers says what its arguments are."""

import inspect
import re

import pytest

import robustbench_ekdaa as rb


def documented(thing):
    """Return the names in the Args section of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(thing) or "", re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^ {4}(\w+): ", section.group(1), re.MULTILINE)) if section else set()


def public_functions():
    """Return, by name, the public functions and the public methods of the objects that do the work."""
    functions = {name: getattr(rb, name) for name in rb.__all__ if inspect.isfunction(getattr(rb, name))}
    for owner in (rb.Benchmark, rb.Results, rb.Workspace):
        for name, method in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                functions[f"{owner.__name__}.{name}"] = method
    return functions


@pytest.mark.parametrize("name", public_functions())
def test_every_public_function_documents_every_argument(name):
    function = public_functions()[name]
    assert inspect.getdoc(function)
    assert set(inspect.signature(function).parameters) - {"self"} == documented(function)


def test_a_benchmark_documents_what_it_is_made_with():
    assert set(inspect.signature(rb.Benchmark).parameters) == documented(rb.Benchmark)
