# Two commands for a fresh machine: `make quickstart` and `make test`. Each makes its own virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: quickstart docstrings test test-slow lint benchmarks clean

quickstart: $(VENV)/.installed
	$(BIN)/ullme run examples/quickstart.yaml

docstrings: $(VENV)/.installed
	$(BIN)/ullme run examples/docstrings.yaml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmarks: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/forward.py
	$(BIN)/python benchmarks/step_memory.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/encode.py

clean:
	rm -rf $(VENV) runs

# torch first, at the tested version: left to a dependency it may come with gigabytes of CUDA that a CPU has no use for.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'ullme needs Python 3.11 or later: make PYTHON=...')"
	@echo "installing into $(VENV): torch, transformers and what they need, a few minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	touch $@
