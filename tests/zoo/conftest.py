"""A run of two quick models on the digits, a zoo that it was published to, and a web server for that."""

import shutil

import pytest

import robustbench_ekdaa as rb

from ..support.quick_models import write_card
from ..support.web_server import served


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A workspace with a run, ``run``, and the zoo that it was published to, ``zoo``."""
    folder = tmp_path_factory.mktemp("zoo")
    write_card(folder, "quick", "backprop")
    write_card(folder, "other", "fa")
    for seed in (0, 1):
        rb.train("quick", "digits", seed, folder / "run", workspace=folder)
    rb.publish(folder / "run", folder / "zoo", workspace=folder)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of that, in which a test may break what it likes; the cache is empty and its own."""
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def server(folder):
    with served(folder / "zoo") as server:
        yield server
