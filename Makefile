# Everything sets itself up: a virtual environment in .venv, then the package with what the target needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check gpu-check clean

quickstart: .venv/installed
	$(BIN)/robustbench-ekdaa quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What only a GPU can show, in under ten minutes from a bare machine. `make gpu-check DEVICE=cpu` tries the same scripts
# without one, briefly, and writes no page.
DEVICE ?= cuda
SIDE := $(if $(filter cpu,$(DEVICE)),--steps 2 --trainings 1 2,--markdown benchmarks/side_by_side.md)
COSTS := $(if $(filter cpu,$(DEVICE)),fa --repeats 2 --shapes 1x28x28,--markdown benchmarks/learning_rules_gpu.md)
gpu-check: .venv/installed-dev
	$(BIN)/python -m pytest -q -n 0 tests/learning/test_devices.py tests/crafting/test_devices.py
	$(BIN)/python benchmarks/side_by_side.py --device $(DEVICE) $(SIDE)
	$(BIN)/python benchmarks/learning_rules.py $(COSTS) --device $(DEVICE)
	$(BIN)/python benchmarks/precision.py --dataset digits --device $(DEVICE)

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
