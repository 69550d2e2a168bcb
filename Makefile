# Everything below works from a bare checkout with Python 3.11 or newer and make.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Set PYTHON to choose the interpreter of .venv yourself.
PYTHON ?=
UV ?= uv
PYTEST_WORKERS ?= 3
# The database of the stories: sqlite, postgresql or both.
DB ?= sqlite
# What `make coverage` runs, each by itself.
TIERS ?= rules stories database processes chaos docs deployment browser
ARGS ?=

# Tests start many processes, and each would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=
# A make that a test starts would look for the jobs of this one.
unexport MAKEFLAGS

BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest -q
# One file is done before further workers have started.
SPREAD = $(if $(findstring .py,$(ARGS)),,-n $(PYTEST_WORKERS) --dist worksteal)
TIMES := $(if $(findstring .py,$(ARGS)),,--slowest 5)
ALL_TIERS = $(PYTEST) $(SPREAD) $(TIMES) -m "not slow" --db both --hypothesis-profile thorough $(ARGS)
# Paths in ARGS are chosen instead of the tiers.
EVERYDAY := $(if $(findstring tests/,$(ARGS)),,tests/rules tests/stories tests/database)
UV_COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## make .venv: the locked dependencies, and the project as an editable install

# A rebuilt .venv holds what the lock file says and nothing left over from an older one.
$(READY): requirements-dev.lock pyproject.toml sdk/python/pyproject.toml
	@set -e; python=; \
	for name in $(if $(PYTHON),'$(PYTHON)',python3.13 python3.12 python3.11 python3); do \
		if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no $(or $(PYTHON),python3) here is Python 3.11 or newer with its venv and ensurepip modules; install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	echo "setting up .venv with $$("$$python" --version) …"; \
	"$$python" -m venv --clear .venv
	@# To compile every module of every dependency takes a third of this; what is used is compiled at its first use.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --only-binary :all: -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable sdk/python
	@touch $@

.PHONY: demo
demo: $(READY) ## sandbox and gateway on SQLite: one task of every kind, watched to its end
	@$(BIN)/tempolor-gateway demo

.PHONY: run
run: $(READY) ## the gateway on SQLite against the sandbox; prints a link that signs in to the console, the admin key and a curl line
	@$(BIN)/python -m app.demo.processes $(ARGS)

.PHONY: test
test: $(READY) ## the everyday tiers: rules, stories, database (ARGS=path or '-k callback' chooses; DB=postgresql)
	$(PYTEST) $(SPREAD) $(TIMES) -m "not slow" --db $(DB) $(EVERYDAY) $(ARGS)

# Much of what real processes take is waiting.
.PHONY: test-all
test-all: PYTEST_WORKERS = 4
test-all: $(READY) ## every tier, stories on both databases, properties with more examples
	$(ALL_TIERS)

.PHONY: test-slow
test-slow: $(READY) ## what is too heavy for every day: load, and kills by the hundred
	$(PYTEST) -m slow --db both --hypothesis-profile thorough $(ARGS)

.PHONY: mutants
mutants: $(READY) ## faults of the table in tests/mutants, each of which a test must notice (ARGS='save --jobs 2' chooses)
	$(BIN)/python -m tests.mutants $(ARGS)

# What a process that is killed ran is not counted. Stories on SQLite use no greenlets, and to follow those of their many
# short threads hangs now and then where greenlet frees them. Tracing makes code slow, so that a test may fail here and
# pass elsewhere: the other tiers run, and the figures are printed, all the same.
.PHONY: coverage
coverage: $(READY) ## lines of app/ that each tier runs, and all of them together (TIERS='rules stories' chooses)
	$(BIN)/coverage erase
	@failed=; for tier in $(TIERS); do \
		follow=; if [ $$tier-$(DB) = stories-sqlite ]; then follow="--concurrency thread"; fi; \
		$(BIN)/coverage run $$follow --context $$tier -m pytest -q -n $(PYTEST_WORKERS) --dist worksteal -m "not slow" --db $(DB) tests/$$tier $(ARGS) \
			|| failed="$$failed $$tier"; \
	done; \
	$(BIN)/coverage combine --quiet; \
	for tier in $(TIERS); do \
		printf '%-12s %3s %%\n' $$tier $$($(BIN)/coverage report --contexts "^$$tier$$" --format total); \
	done; \
	printf '%-12s %3s %%\n' all $$($(BIN)/coverage report --format total); \
	if [ -n "$$failed" ]; then echo "tests failed in:$$failed" >&2; exit 1; fi

.PHONY: check style types layers
check: style types layers test-all ## format, lint, types, layers, every tier

style: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports --no-logo

.PHONY: trace
trace: $(READY) ## record anew what the gateway shows of the scripts in tests/stories/trace
	$(BIN)/python -m pytest -q tests/stories/trace -k sqlite --record $(ARGS)

.PHONY: bench
bench: $(READY) ## measure: ARGS='all --write' (callbacks steady overload curve sizes memory purge submissions console lists)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: shape
shape: $(READY) ## how many functions, files and types one callback passes (ARGS='--names' lists them, --write keeps it)
	$(BIN)/python -m benchmarks.code_shape $(ARGS)

.PHONY: typescript
typescript: $(READY) ## write the types of the TypeScript client anew from the OpenAPI document (needs Node and npm)
	cd sdk/typescript && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/python -c 'import json; from app.api.app import rest_api; print(json.dumps(rest_api("0").openapi()))' > sdk/typescript/openapi.json
	cd sdk/typescript && npm run generate && rm openapi.json

.PHONY: format
format: $(READY) ## format, and apply the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The present pins are kept where they still fit; ARGS=--upgrade moves them all.
.PHONY: lock
lock: ## write the lock files anew from pyproject.toml (needs uv)
	@command -v $(UV) >/dev/null || { echo "make: 'make lock' needs uv; install it, or name it: make lock UV=/path/to/uv" >&2; exit 1; }
	$(UV_COMPILE) --group build $(ARGS) pyproject.toml --output-file requirements.lock
	$(UV_COMPILE) --group dev --constraint requirements.lock $(ARGS) pyproject.toml --output-file requirements-dev.lock
	$(UV_COMPILE) --group build --extra otel --constraint requirements-dev.lock $(ARGS) pyproject.toml --output-file requirements-otel.lock

.PHONY: clean
clean: ## remove .venv, caches and build leftovers (no database)
	rm -rf .venv .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info sdk/python/build sdk/python/dist sdk/python/*.egg-info sdk/typescript/build sdk/typescript/dist sdk/typescript/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
