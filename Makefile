# Every target sets up its own .venv if there is none, and again when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# `make run CONFIG=my.toml` serves that file.
CONFIG ?=

.PHONY: help run demo test check format e2e bench filtered simulate plants fuzz mutants clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Two installations: a plain `edgerelay` needs no test tool, so `run` and `demo` come sooner.
$(VENV)/.program: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(STAMP): $(VENV)/.program
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	touch $@

run: $(VENV)/.program  ## serve CONFIG=FILE, or a relay on 127.0.0.1:2525 that keeps mail in ./run
	@if [ -n "$(CONFIG)" ]; then exec $(BIN)/edgerelay serve -c "$(CONFIG)"; fi; \
	exec $(BIN)/python contrib/demo/run.py

demo: $(VENV)/.program  ## watch a relay deliver, refuse and wait, in under a minute
	$(BIN)/python contrib/demo/demo.py

test: $(STAMP)  ## unit, property and fault tests: under 3 minutes, loopback only
	$(BIN)/python -m pytest -q

check: $(STAMP)  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## mend what `make check` says about form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

e2e: $(STAMP)  ## with real Postfix, Exim, OpenSMTPD, Dovecot and others (root; Debian packages: see .ci/run)
	$(BIN)/python -m pytest tests/e2e -q -o addopts="--strict-markers --strict-config --import-mode=importlib --durations=5"

bench: $(VENV)/.program  ## side by side with Postfix (root; BENCH_M=500 for a shorter run)
	$(BIN)/python contrib/bench/compare.py

filtered: $(VENV)/.program  ## the same with SPF, DKIM and greylisting in front (root)
	$(BIN)/python contrib/bench/filtered.py

simulate: $(STAMP)  ## the whole relay under virtual time with faults: SEEDS=1000, FIRST=0
	$(BIN)/python -m edgerelay.testing.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

plants: $(STAMP)  ## mistakes planted by hand, and the seed at which the simulation finds each
	$(BIN)/python contrib/simulate/plants.py

fuzz: $(STAMP)  ## atheris at every reader of hostile octets: TIME=2m, TARGET=data
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python contrib/fuzz/run.py $(or $(TIME),2m) $(TARGET)

mutants: $(STAMP)  ## mistakes in the data reader made by hand, and the tests that see each
	$(BIN)/python contrib/fuzz/mutants.py

clean:  ## forget .venv, caches and what bench and run left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis run contrib/bench/run contrib/fuzz/run
