# The only commands anyone needs to know:
#   make demo ARGS="--devices 5"   the product at work on this computer
#   make test                      all tests, with branch coverage; ARGS="-k kid" for some of them, without
#   make check                     formatter, linter, types, import contracts, model of the chains, documents
#   make bench                     what it costs, beside what the same work costs without it
#   make fuzz                      every decoder under the fuzzer for a minute; ARGS="--seconds 600 --only envelope" for more of one
#   make docs                      all documents as a site, in build/site; it needs no server and no network
# They make the environment first (in .venv, once). PYTHON=python3.12 chooses the interpreter.

ARGS ?=
VENV := .venv
BIN  := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-runtime demo test check bench fuzz docs format clean

help:
	@sed -n 's/^#   //p' Makefile

setup-runtime:
	@scripts/setup.sh runtime

setup:
	@scripts/setup.sh dev

demo: setup-runtime
	@$(BIN)/sealway demo $(ARGS)

test: setup
	@scripts/run_tests.sh $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m spec.model
	$(BIN)/python -m pytest -q tests/contracts tests/docs

bench: setup
	@$(BIN)/python -m bench.run $(ARGS)

fuzz:
	@scripts/setup.sh fuzz
	@$(BIN)/python -m fuzz.run $(ARGS)

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file docs/site/mkdocs.yml
	@echo "open build/site/index.html"

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
