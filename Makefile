# On a fresh machine only Python (3.11 or newer) and make are needed; everything else lands in .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help quickstart quick test torture bench gpu versions wheel newest compatibility trackers
.PHONY: reference format lint typecheck check clean

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

quickstart: $(INSTALLED)  ## train a small GPT-2 on the built-in language and show what it learned
	$(BIN)/foundry train configs/quickstart.yaml

quick: $(INSTALLED)  ## run the quick tests
	$(BIN)/python -m pytest -m "not slow and not torture" -n 2 --dist loadfile

test: $(INSTALLED)  ## run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

torture: $(INSTALLED)  ## run the tests that kill runs at random; takes up to half an hour
	$(BIN)/python -m pytest -m torture -n 2 --dist load

bench: $(INSTALLED)  ## measure speed and write benchmarks/RESULTS.md; takes an hour, ARGS="--help" lists options
	$(BIN)/python -m benchmarks $(ARGS)

gpu:  ## test and measure on one NVIDIA GPU in eight minutes; PYTHON=... must have this package
	$(PYTHON) -m benchmarks.gpu_check $(ARGS)

versions: $(INSTALLED)  ## test models with the oldest and the newest supported libraries
	$(BIN)/python -m compatibility.versions $(ARGS)
	$(BIN)/python -m compatibility --diagonal --sets 4.51 5.0

wheel: $(INSTALLED)  ## install the wheel into an empty environment and test it there
	$(BIN)/python -m compatibility.wheel $(ARGS)

newest: $(INSTALLED)  ## the same with the newest libraries of today, and test models with them
	$(BIN)/python -m compatibility.wheel --whole --tests $(ARGS)

reference: $(INSTALLED)  ## renew the schema, the page and the list of all settings
	$(BIN)/foundry schema --output configs/schema.json
	$(BIN)/foundry schema --format markdown --output docs/config.md
	$(BIN)/foundry schema --format text --output tests/config/settings.txt

compatibility: $(INSTALLED)  ## test which tools open saved models, and write docs/compatibility.md
	$(BIN)/python -m compatibility --tools --page docs/compatibility.md $(ARGS)

trackers: $(INSTALLED)  ## read runs back with each tracker, over a kill and a resume
	$(BIN)/python -m compatibility.trackers $(ARGS)

format: $(INSTALLED)  ## format the code and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED)  ## check style and format without changing a file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

typecheck: $(INSTALLED)  ## check the types
	$(BIN)/mypy

check: lint typecheck test  ## everything that must pass before a change lands

clean:  ## remove the environment and every cache in this directory
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv; torch is large, so this can take some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
