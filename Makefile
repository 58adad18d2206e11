# `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
# pip would compile each file on one core, which takes longer than all else; some are not for this Python
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
# libraries that would call home
export DO_NOT_TRACK := true
# without bytecode each process of the tests compiles the project and its tests anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install dev demo check test endurance lint types contracts quick kill-test chaos docs bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed  ## make .venv from constraints.txt: what the commands need
.venv/installed: constraints.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "error: $(PYTHON) is not on the PATH"; echo "Install Python 3.11, or type: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	@$(COMPILE)
	@$(BIN)/python -c 'from flows.line.dvc_state import keep_state_private; keep_state_private()'
	@touch $@

dev: .venv/installed-dev  ## what tests and checks need besides
.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	@# the authors' CRF, for `refine_crf.method: pydensecrf` and the tests that compare with it; it has no wheel
	@$(PIP) pydensecrf2 > .venv/pydensecrf2.log 2>&1 || { \
		tail -n 3 .venv/pydensecrf2.log; \
		echo "note: pydensecrf2 is not installed, since it could not be compiled; all but the method pydensecrf runs without it."; \
		echo "With a C++ compiler, type: $(BIN)/pip install -c constraints.txt pydensecrf2"; }
	@$(COMPILE)
	@touch $@

demo: install  ## render the demo data set, run the whole line, print a table and the path of a report
	@labelfactory import demo --only-over-demo
	@labelfactory profile demo
	@dvc repro
	@labelfactory record
	@labelfactory report

check: dev  ## what to run before each commit: the quick tests; mypy runs beside them
	@$(MAKE) --no-print-directory --jobs 2 lint contracts quick types

lint: dev
	ruff check .
	ruff format --check .

types: dev
	mypy

contracts: dev
	lint-imports

quick: dev
	pytest -q -m 'not slow' -n 2 --dist worksteal --hypothesis-profile quick

test: dev  ## all tests but those of endurance: 20 to 45 minutes on two cores
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not endurance'

endurance: dev  ## tests that start clusters, pools of workers and PostgreSQL, kill and interrupt what they started, and damage files
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m endurance

kill-test: dev  ## ten times: kill a worker in the middle of a stage, and let another one finish the run
	@for k in 1 2 3 4 5 6 7 8 9 10; do echo "kill $$k of 10"; pytest -q tests/flows/run/test_killed_worker.py || exit 1; done

chaos: dev  ## 1,000 SIGKILLs at random moments, each time the same bytes at the end; SEED=1 for others: under an hour
	python tests/support/chaos.py --kills 1000 --seed $(or $(SEED),0)

docs: install  ## write docs/parameters.md from the code, and docs/methods.md from docs/methods.csv
	labelfactory parameters > docs/.parameters.md && mv docs/.parameters.md docs/parameters.md
	python -m benchmarks.methods

bench: dev  ## seconds and memory of CAMs, walk, CRF and scoring, each beside its reference
	python -m benchmarks

clean:  ## remove what the line made; imports, corrections, audits, raw pictures, the ledger, MLflow and DVC's cache stay
	find data -mindepth 1 -maxdepth 1 -not -name import -not -name corrections -not -name audits -not -name raw -not -name ledger -not -name mlflow -exec rm -rf {} +
	rm -f dvc.lock
