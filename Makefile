# `make` lists the targets. Everything runs inside .venv, which the first target that needs it creates.
# Words a user may set: PYTHON (makes .venv), ARGS (passed on), JOBS (test processes).

PYTHON ?= python3
ARGS ?=
JOBS ?= 2

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Stands while an install runs. Left behind, it means that one was killed midway and .venv cannot be trusted.
PARTIAL := .venv.partial

export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(PY) -m pip install -qq --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help venv speed test page reference check format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile
	@echo 'Example: make speed ARGS="--rounds 5 --json"'

venv: $(STAMP) ## create .venv and install everything pinned in constraints.txt

# An existing .venv is completed, unless its pip does not run or an install in it was killed: then it is made anew.
# pip undoes its work when it fails by itself, so only a kill leaves the marker.
$(STAMP): pyproject.toml constraints.txt
	@if [ -e $(PARTIAL) ] || ! $(PY) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make venv PYTHON=python3.12")' \
		&& touch $(PARTIAL) \
		&& $(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo 'Installing into $(VENV) (some minutes the first time)' >&2
	@touch $(PARTIAL)
	@$(INSTALL) torch && $(INSTALL) --editable '.[dev]' || { rm -f $(PARTIAL); exit 1; }
	@rm -f $(PARTIAL)
	@touch $@

speed: $(STAMP) ## print the speed and memory table: python -m bench.speed $(ARGS)
	@$(PY) -m bench.speed $(ARGS)

page: $(STAMP) ## make reports/published/page again from the published records (ARGS goes to reports)
	@$(PY) -m reports --results reports/published --out reports/published/page $(ARGS)

reference: $(STAMP) ## make the API reference from the docstrings, build/reference/index.html
	@$(PY) -W ignore -m pdoc --docformat google --no-show-source --output-directory build/reference \
		sparsegrad sparsegrad.peft '!sparsegrad\.(?!peft$$).+'

# One thread a process: the test processes share the cores, and sums come out in one order.
test: check ## the gate: check, then every test (ARGS goes to pytest)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 $(PY) -m pytest -n $(JOBS) $(ARGS)

check: $(STAMP) ## lint, format and types only
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(STAMP) ## put the source in the form that check asks for
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

clean: ## remove caches and build products; .venv and results/ stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
