# make setup | demo | test | simulate | fuzz | lint | conformance | bench | clean
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
TINY := build/tiny/tiny.qcow2
export PILEUS_TEST_IMAGE ?= $(CURDIR)/$(TINY)

.PHONY: setup demo test simulate fuzz lint conformance bench clean docs

setup: $(VENV)/.done $(TINY)

$(VENV)/.done: pyproject.toml tools/install-packages.sh
	tools/install-packages.sh
	/usr/bin/python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip
	$(VENV)/bin/pip install --quiet --editable '.[libvirt,test]'
	touch $@

$(TINY): tools/build-test-image.sh | $(VENV)/.done
	mkdir -p build
	tools/build-test-image.sh build/tiny > build/tiny.log 2>&1 || { tail -20 build/tiny.log; exit 1; }

demo: setup
	tools/demo.sh

lint: $(VENV)/.done
	$(VENV)/bin/ruff check src tests bench tools
	$(VENV)/bin/ruff format --check src tests bench tools
	$(VENV)/bin/mypy

test: setup
	tools/test.sh $(PARTS)

SEEDS ?= 100000
FIRST_SEED ?= 1
simulate: $(VENV)/.done
	SEEDS=$(SEEDS) FIRST_SEED=$(FIRST_SEED) $(PY) -m pytest -q -s tests/simulation

FUZZ_REQUESTS ?= 10000
FUZZ_SEED ?= 1
fuzz: $(VENV)/.done
	FUZZ_REQUESTS=$(FUZZ_REQUESTS) FUZZ_SEED=$(FUZZ_SEED) $(PY) -m pytest -q -s tests/unit/api/test_fuzz.py

conformance: setup
	tests/conformance/run.sh

bench: setup
	bench/run.sh

docs: $(VENV)/.done
	$(PY) tools/make-docs.py

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* src/*.egg-info
