# Each target does its own set-up on a machine with only Python >= 3.11, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# uv installs the same locked files in a quarter of pip's time; pip does where uv can't be had
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
STAMP := $(VENV)/.installed-$(VERSION)
DEV_STAMP := $(VENV)/.installed-dev-$(VERSION)

# a file at a time on each core, so that what a file's tests share is made once, in the files' order: pytest-xdist's own
# ends with files of few long tests. Products, faults and browsers start processes and wait for them: four files at a time
HEAVY := tests/up tests/faults tests/browser
PARALLEL := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
FAST = $(PARALLEL) -n auto $(HEAVY:%=--ignore=%)

.PHONY: help setup dev run demo test check lint lock bench faults fuzz image clean

help: ## Show the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(STAMP) ## Make .venv with the gradmill command.

$(STAMP): requirements.lock pyproject.toml service/ui/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradmill needs Python 3.11 or newer: make PYTHON=python3.13")'
	@test -x $(BIN)/python && $(BIN)/python -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install "uv>=0.13" || true
	@echo "Installing what requirements.lock names."
	@$(UV_INSTALL) --compile-bytecode --require-hashes -r requirements.lock || $(PIP) install --require-hashes -r requirements.lock
	@$(UV_INSTALL) --no-deps -e . || $(PIP) install --no-deps -e .
	@touch $@

dev: $(DEV_STAMP)

$(DEV_STAMP): $(STAMP) requirements-dev.lock
	@$(UV_INSTALL) --compile-bytecode --require-hashes -r requirements-dev.lock || $(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

run: setup ## Start everything, train the digits example, stay up.
	@$(BIN)/gradmill up --example

demo: setup ## The same, then stop.
	@$(BIN)/gradmill demo

test: dev lint ## Lint, types, import contracts and every test.
	$(FAST)
	$(PARALLEL) -n 4 $(HEAVY)

check: dev lint ## The quick loop: lint and the fast tests.
	$(FAST) -m "not slow" -q

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: dev ## Measure, beside scikit-learn and JAX, and PyTorch where it is installed.
	$(BIN)/python -m tests.benchmarks

faults: dev ## Inject faults for hours, and print what came of it.
	GRADMILL_TEST_LONG=1 $(BIN)/python -m pytest tests/faults --timeout 7200
	$(BIN)/python -m tests.faults

fuzz: dev ## Send 100,000 generated requests, with seeds that no run had before.
	GRADMILL_TEST_CASES=100000 GRADMILL_TEST_SEED=$$(date +%s) $(BIN)/python -m pytest tests/service/test_openapi_cases.py -s

lock: ## Renew the lock files; needs uv.
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c requirements-dev.lock pyproject.toml -o requirements.lock

image: ## Build the container image.
	docker build -t gradmill .

clean: ## Remove what was made here.
	rm -rf $(VENV) build dist service/ui/static/vendor .mypy_cache .pytest_cache .ruff_cache
