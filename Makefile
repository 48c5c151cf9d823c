# Everything here works on a bare machine: Python 3.11 or newer, pip and make.
# The rest is fetched into .tools/ and .venv/ of this directory, at the versions of uv.lock.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
READY := .venv/.ready
ROOMS := sandbox core ledger tenancy integrations runs triggers worker scheduler api moonsand

# Images of Python set this, and then hundreds of processes of tests compile everything again.
unexport PYTHONDONTWRITEBYTECODE
export PIP_ROOT_USER_ACTION := ignore
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE ?= copy

.PHONY: help
help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

# --- set-up ---

$(UV):
	@echo "Fetching uv into .tools/ ..."
	@$(PYTHON) -m pip install -qq --target .tools 'uv>=0.13.9,<1'

$(READY): uv.lock pyproject.toml | $(UV)
	@echo "Installing what uv.lock names into .venv/ ..."
	@$(UV) sync -q --locked --inexact --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

MOTO := .tools/moto/.ready

$(MOTO): uv.lock pyproject.toml | $(UV)
	@UV_PROJECT_ENVIRONMENT=.tools/moto $(UV) sync -q --locked --only-group moto --no-install-project --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@touch $@

.PHONY: setup
setup: $(READY) ## Install everything into .tools/ and .venv/ (the others do it by themselves)

# --- use ---

.PHONY: demo serve doctor
demo: $(READY) ## Run the Mux examples on a real Redis, API and worker (KEEP=1 leaves it up, CRASH=1 kills a worker mid-run)
	@$(BIN)/moonsand demo $(if $(KEEP),--keep) $(if $(CRASH),--crash)

serve: $(READY) ## Start Redis, API and workers here
	@$(BIN)/moonsand serve

doctor: $(READY) ## Say what of the jail, Redis and settings this machine can do
	@$(BIN)/moonsand doctor

# --- checks ---

.PHONY: test security faults lint types imports fmt check bench
test: $(READY) $(MOTO) ## Run all tests, four files at a time (T=path or T="-k word" for some, on one)
	@$(BIN)/python -m pytest $(or $(T),-n 4 --dist loadfile)

security: $(READY) ## Run the attacks and hostile children; the jail must be real
	@REQUIRE_JAIL=1 $(BIN)/python -m pytest tests/security

faults: $(READY) ## Kill workers, children and Redis a thousand times (FAULTS="--kills 100")
	@$(BIN)/python -m tests.faults $(FAULTS)

lint: $(READY) ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## Check types
	@$(BIN)/mypy

imports: $(READY) ## Check that rooms import one way only
	@$(BIN)/lint-imports

fmt: $(READY) ## Rewrite the sources in house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: ## Do what CI does: lint, types, imports, tests with the jail required
	@.ci/run

bench: $(READY) ## Measure speed and print a table
	@$(UV) sync -q --locked --inexact --group bench
	@$(BIN)/python -m benchmarks $(BENCH)

# --- packaging ---

.PHONY: wheel image clean
wheel: $(READY) ## Build the wheel into dist/
	@$(UV) build -q --wheel

image: ## Build the container image moonsand:local
	@docker build -t moonsand:local .

clean: ## Remove what was built and installed here
	@rm -rf .tools .venv dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find $(ROOMS) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
