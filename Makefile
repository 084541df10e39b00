.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup lock fmt lint types layers test crash bench demo run config-example migration check build clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## build .venv from the lock file (Python 3.11+ with venv is all it needs)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "provisiond needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "this Python has no venv: install it first (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: ## write requirements.lock anew (needs uv on the PATH)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra postgres --group dev -o requirements.lock pyproject.toml

fmt: setup ## format
	$(BIN)/ruff format daemon tests
	$(BIN)/ruff check --fix-only daemon tests

lint: setup ## ruff: rules and format
	$(BIN)/ruff check daemon tests
	$(BIN)/ruff format --check daemon tests

types: setup ## mypy strict
	$(BIN)/mypy daemon tests

layers: setup ## import-linter
	$(BIN)/lint-imports

test: setup ## the whole suite (at most 8 minutes on 2 cores)
	$(BIN)/pytest -q -n 2 --dist worksteal tests --ignore tests/crash/test_kill.py

crash: setup ## kill -9 a real daemon at edges of its steps, and start it again
	$(BIN)/pytest -q -n 2 --dist worksteal tests/crash/test_kill.py

bench: setup ## one line per figure, and bench.json
	$(BIN)/python -m tests.benchmarks

demo: setup ## the main job end to end, on SQLite and the sandbox (under a minute)
	$(BIN)/provisiond demo

run: setup ## run a daemon on config/provisiond.yaml
	$(BIN)/provisiond --config config/provisiond.yaml run

config-example: setup ## write config/ and docs/reference/settings.md anew from the settings models
	$(BIN)/python -m daemon.settings.render

migration: setup ## write the next migration from daemon/store/models.py
	$(BIN)/python -m daemon.store.migrations
	$(BIN)/ruff format -q daemon/store/migrations
	$(BIN)/ruff check -q --fix daemon/store/migrations

check: ## everything CI runs, in its order
	.ci/run

build: setup ## wheel and sdist in dist/
	$(BIN)/python -m hatchling build

clean: ## remove what was built
	rm -rf $(VENV) dist build bench.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
