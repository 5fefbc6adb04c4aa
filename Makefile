# Everything sets itself up: a virtual environment in .venv, then the package with what the target needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check clean

quickstart: .venv/installed
	$(BIN)/robustbench-ekdaa quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv quickstart

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	# An independent implementation to compare with; its own pins are years old, so it comes without them.
	$(BIN)/python -m pip install --quiet --no-deps torchattacks
	touch $@ .venv/installed
