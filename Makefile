# Everything runs in an environment of its own, .venv, made from the lock file and made again when that changes.
# `make demo` and `make test` need only: git, make, python3 and python3-venv.

# The distribution's own interpreter where it will do: it is built with profile-guided optimisation, and proxies feel that (14 % in user time).
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
            && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-lock
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test unit check lint types format bench conformance differential clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv from the lock file

$(STAMP): requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "make: python3 cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: weft needs Python 3.11 or newer; remove $(VENV) and say PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV) (exact versions, checked by hash) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP) ## The whole story on this machine, in about a minute; KEEP=1 leaves it running
	@$(BIN)/weft demo $(if $(filter-out 0,$(KEEP)),--keep)

test: $(STAMP) ## All tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

unit: $(STAMP) ## Tests that start no process and open no port
	$(BIN)/python -m pytest -q -m "not integration" $(PYTEST_ARGS)

check: lint types unit ## What CI asks of a change first: style, types, unit tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure weft beside Envoy, nginx and haproxy; writes build/bench.json
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

conformance: $(STAMP) ## Run the conformance data that applies; writes build/conformance.json
	$(BIN)/python -m tests.conformance

differential: $(STAMP) ## Send 20,000 requests to both engines on the same slices; what differs unexplained fails
	$(BIN)/python -m tests.differential $(DIFFERENTIAL_ARGS)

clean: ## Remove what was built; .venv stays
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
