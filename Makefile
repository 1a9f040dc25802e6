# One way to set up, run and check, the same by hand and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := train,llm,keras,sklearn,postgres,s3,dev
# Programs that others wrote for the servers that modeltap stands in for: they conflict with it and with each other.
CLIENTS := .clients/now/.installed .clients/old/.installed
# A file's tests stay together, so that what they share is made once.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile
# Tests that go through what is compiled.
COMPILED_TESTS := tests/tidy/test_compiled_modules.py tests/api/test_hot_path.py tests/api/test_inference_plans.py

.DEFAULT_GOAL := help
.PHONY: help up test check clients wheel wheel-check bench clean

help:
	@echo "make up      set up, run the demo, then serve on http://127.0.0.1:8000"
	@echo "make test    set up, run the tests"
	@echo "make check   set up, run the whole gate: format, lint, types, imports, tests"
	@echo "make clients install the foreign clients that the tests try, each kind in a place of its own"
	@echo "make wheel   build dist/modeltap-*.whl with its hot path compiled; needs a C compiler"
	@echo "make wheel-check  build the wheel, run the tests of the hot path on what is in it"
	@echo "make bench   set up, run the benchmarks"
	@echo "make clean   remove what set-up and checks made"

up: $(INSTALLED)
	$(BIN)/modeltap demo --serve

test: $(INSTALLED) $(CLIENTS)
	$(PYTEST)

# The tests come last, so that their summary is the last line of a gate that holds.
check: $(INSTALLED) $(CLIENTS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST)

clients: $(CLIENTS)

wheel: $(INSTALLED)
	@# In a copy: compiled modules beside the sources would be imported in their place.
	rm -rf build/wheel && mkdir -p build/wheel && cp -r src pyproject.toml README.md LICENSE build/wheel
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(BIN)/pip wheel --disable-pip-version-check --no-deps --wheel-dir dist build/wheel

wheel-check: wheel
	rm -rf build/compiled && $(BIN)/python -m zipfile -e "$$(ls -t dist/modeltap-*.whl | head -1)" build/compiled
	MODELTAP_TEST_COMPILED=1 PYTHONPATH=build/compiled $(BIN)/pytest -p no:cacheprovider $(COMPILED_TESTS)

bench: $(INSTALLED)
	$(BIN)/pip install -c constraints.txt -e '.[$(EXTRAS),bench]'
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .clients .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"modeltap needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo absent)." \
		"Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo \
		"$(PYTHON) cannot make virtual environments; install its venv package (Debian, Ubuntu: apt-get install python3-venv)" \
		>&2; exit 1; }
	$(BIN)/pip install --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Complete lists of versions, so nothing is looked for; tests/e2e/clients says why.
.clients/%/.installed: tests/e2e/clients/%.txt | $(INSTALLED)
	rm -rf $(@D) && $(BIN)/python -m venv $(@D)
	$(@D)/bin/pip install --disable-pip-version-check --quiet --no-deps -r $< || { rm -rf $(@D) && mkdir -p $(@D) && \
		echo "$< could not be installed; its tests are skipped" >&2; }
	@touch $@
