# Everything sets itself up: a private .venv from the hashed lock files, and for the tests the real servers.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK   := --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
          --strip-extras --allow-unsafe --no-annotate --no-header --quiet

.PHONY: help demo run test check bench wheel wheelhouse lock schemas clean
help:  ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/.run  ## a simulated pilot site and the gateway on it; opens http://127.0.0.1:8080
	@set -m 2>/dev/null; $(BIN)/sitegate demo $(ARGS)  # a job of its own: Ctrl-C ends the demo, not make

test: $(VENV)/.dev  ## all tests, with real servers where they may be installed
	@sh tests/servers.sh
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.dev  ## speed beside a bare pymodbus loop and bare sockets, then the alarms (two minutes)
	$(BIN)/python -m benchmarks $(ARGS)

wheel: $(VENV)/.dev  ## dist/sitegate-*.whl
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

wheelhouse: $(VENV)/.dev  ## dist/wheelhouse: everything for a box without a network (docs/deploy.md)
	sh deploy/wheelhouse.sh $(BIN)/python dist/wheelhouse

lock: $(VENV)/.dev  ## renew both lock files
	$(BIN)/pip-compile $(LOCK) --upgrade --build-deps-for editable --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile $(LOCK) --extra dev --build-deps-for editable --constraint requirements.lock \
	    --output-file requirements-dev.lock pyproject.toml

schemas: $(VENV)/.dev  ## renew configs/schema, docs/metrics.md and docs/profiles.md after a change of models, vocabulary or profiles
	$(BIN)/sitegate schema site > configs/schema/site.schema.json
	$(BIN)/sitegate schema profile > configs/schema/profile.schema.json
	$(BIN)/sitegate schema metrics > docs/metrics.md
	$(BIN)/sitegate dashboards build
	$(BIN)/sitegate schema profiles > docs/profiles.md

clean:  ## remove what make made
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Sitegate needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "install the venv module first (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run
