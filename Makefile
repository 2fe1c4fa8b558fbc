# Everything runs in a virtual environment of its own, made from a bare Python 3.11 or newer.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check lint clean

VENV ?= .venv
BIN := $(VENV)/bin
CODE := promptopt search rewards benchmarks tests
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

help: ## say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(VENV)/demo.stamp ## search, score, choose and prove a prompt, offline, in a few minutes
	@$(BIN)/promptopt init demo --demo --force
	@$(BIN)/promptopt run demo/promptopt.yaml

test: $(VENV)/test.stamp ## run the tests
	@$(BIN)/python -m pytest -q -m "not slow"

test-slow: $(VENV)/test.stamp ## run the tests that take minutes, too
	@$(BIN)/python -m pytest -q

lint: $(VENV)/test.stamp ## check style and types
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy

check: lint test ## everything a change must pass

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "needs Python 3.11 or newer with venv (Debian: apt install python3-venv);" \
			"name one with: make PYTHON=/path/to/python3" >&2; exit 2; fi
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing promptopt[local] into $(VENV)"
	@$(PIP) "pip>=25.1"
	@$(PIP) --editable ".[local]"
	@touch $@

$(VENV)/test.stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing promptopt[local] and the development tools into $(VENV)"
	@$(PIP) "pip>=25.1"
	@$(PIP) --editable ".[local]" --group dev
	@touch $@
