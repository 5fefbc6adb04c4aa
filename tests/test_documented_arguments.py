"""Everything that the package and its two faces for authors offer says what its arguments are."""

import inspect
import re

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa import components, rules


def documented(thing):
    """Return the names in the Args section of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(thing) or "", re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^ {4}(\w+): ", section.group(1), re.MULTILINE)) if section else set()


def own_methods(owner):
    """Yield the name and function of each public method that a class of this package itself defines."""
    for name, found in vars(owner).items():
        method = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        if inspect.isfunction(method) and (name == "__call__" or not name.startswith("_")):
            yield f"{owner.__name__}.{name}", method


def public_functions():
    """Return, by name, the public functions and the public methods of the objects that do the work."""
    functions = {name: getattr(rb, name) for name in rb.__all__ if inspect.isfunction(getattr(rb, name))}
    for owner in (rb.Benchmark, rb.Results, rb.Workspace):
        functions |= own_methods(owner)
    for face in (rules, components):
        for name in face.__all__:
            thing = getattr(face, name)
            if inspect.isfunction(thing):
                functions[f"{face.__name__.rpartition('.')[2]}.{name}"] = thing
            elif inspect.isclass(thing):
                functions |= own_methods(thing)
    return functions


FUNCTIONS = public_functions()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_documents_every_argument(name):
    function = FUNCTIONS[name]
    assert inspect.getdoc(function)
    assert set(inspect.signature(function).parameters) - {"self", "cls"} == documented(function)


CLASSES = {thing for face in (rules, components) for thing in vars(face).values() if inspect.isclass(thing)}


@pytest.mark.parametrize("made", sorted(CLASSES - {rules.UsageError}, key=lambda one: one.__name__))
def test_every_class_of_the_faces_documents_what_it_is_made_with(made):
    described = re.findall(r"^ {4}(\w+): ", inspect.getdoc(made) or "", re.MULTILINE)  # as arguments or as attributes
    assert set(inspect.signature(made).parameters) <= set(described)


def test_a_benchmark_documents_what_it_is_made_with():
    assert set(inspect.signature(rb.Benchmark).parameters) == documented(rb.Benchmark)
