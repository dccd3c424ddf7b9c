# Two commands on a fresh machine with Python >= 3.11:  make demo   and   make test
.PHONY: demo test test-mace test-nequip lint format clean help

# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

help:
	@echo "make demo    environment, then water: MD -> infrared, Raman, VDOS, Born charges, figures (results/water)"
	@echo "make test    environment, then every test"
	@echo "make test-mace    another environment, with mace-torch, then the tests that need it"
	@echo "make test-nequip  another environment, with nequip and nequip-allegro, then the tests that need them"
	@echo "make lint    ruff and mypy"
	@echo "make format  rewrite the code in the house format"

# A stamp per environment: made again only when the requirements change.
.venv/run.stamp: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found; say PYTHON=/path/to/python" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/run.stamp
	$(BIN)/spectra-app run workflows/water.yaml

test: .venv/dev.stamp
	$(BIN)/python -m pytest

# Libraries of other architectures want different versions of e3nn: each has an environment of its own, and its tests a mark.
EXTRA_mace := mace-cueq
EXTRA_nequip := nequip
.venv-%/stamp: pyproject.toml constraints.txt constraints-%.txt
	@test -n "$(PYTHON)" || { echo "make: no Python >= 3.11 found; say PYTHON=/path/to/python" >&2; exit 1; }
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--constraint constraints-$*.txt --editable '.[$(EXTRA_$*)]' pytest
	@touch $@

.PRECIOUS: .venv-%/stamp

test-mace test-nequip: test-%: .venv-%/stamp
	.venv-$*/bin/python -m pytest -m $* tests/cli tests/couplings tests/potentials tests/training

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* build dist results .pytest_cache .mypy_cache .ruff_cache
