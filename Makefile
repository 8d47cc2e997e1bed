# Python 3.11 or newer, git and make are all a machine needs. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	"$$python" -c '$(NEW_ENOUGH)' 2>/dev/null && { echo "$$python"; break; }; done)
BIN := .venv/bin
READY := .venv/.installed

# Two workers with one thread each: more threads than cores make small operators many times slower.
PYTEST := OMP_NUM_THREADS=1 MLFLOW_DISABLE_TELEMETRY=true $(BIN)/python -m pytest

.PHONY: help bench reproduce test check report speed gpu ui clean

comma := ,
port := 5000
STUDIES = $(subst $(comma), ,$(or $(only),$(basename $(notdir $(wildcard experiments/*.yaml)))))

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

bench: $(READY) ## set up, then train, explain with two rules, score and show the table
	$(BIN)/python -m lrp_bench rule=epsilon,alphabeta --multirun

reproduce: $(READY) ## measure every claim of experiments/, or make reproduce only=iris,toy; what was finished is not done again
	@failed=; for name in $(STUDIES); do \
		preset=$$(sed -n "s/^experiment: *//p" "experiments/$$name.yaml" 2>/dev/null || true); \
		echo "== $$name"; $(BIN)/python -m lrp_bench experiment=$${preset:-$$name} sweep.resume=true || failed="$$failed $$name"; \
	done; \
	$(BIN)/python -m lrp_bench.report claims; \
	if [ -n "$$failed" ]; then echo "Not measured, for the reasons said above:$$failed" >&2; exit 1; fi

test: $(READY) ## set up, then run the tests (more options: make test ARGS='-k engine')
	$(PYTEST) -q -n 2 $(ARGS)

check: $(READY) ## set up, then lint, formatting, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/test_imports.py

report: $(READY) ## tables and figures of the latest sweep
	$(BIN)/python -m lrp_bench.report

speed: $(READY) ## time the engine and the metrics beside other implementations
	$(BIN)/python experiments/speed/engine.py
	$(BIN)/python experiments/speed/metrics.py

# On a machine that has torch, but neither .venv nor a network, what else is needed is installed from wheels/.
gpu: ## prove on a GPU, in 8 minutes, that all is right and quick there; smaller on a CPU (more options: make gpu ARGS=--smoke)
	@python="$$(test -x $(BIN)/python && echo $(BIN)/python || echo "$(or $(PYTHON),python3)")"; path="$(CURDIR)"; \
	if [ -d wheels ] && ! "$$python" -c 'import hydra' 2>/dev/null; then \
		echo "Installing wheels/ into build/gpu"; rm -rf build/gpu; path="$$path:$(CURDIR)/build/gpu"; \
		"$$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target build/gpu wheels/*.whl; \
	fi; \
	PYTHONPATH="$$path$${PYTHONPATH:+:$$PYTHONPATH}" MLFLOW_DISABLE_TELEMETRY=true "$$python" experiments/speed/gpu.py $(ARGS)

ui: $(READY) ## MLflow's page on the runs in outputs/ (another port: make ui port=5001)
	@test -s outputs/mlflow.db || { echo "Expected runs in outputs/mlflow.db, got none: make bench first." >&2; exit 1; }
	@echo "Open http://127.0.0.1:$(port)/#/experiments?workflowType=machine_learning"
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
		$(BIN)/mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db --workers 1 --port $(port)

clean: ## remove caches and builds (outputs/ and .venv/ stay)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage coverage.xml
	find lrp_bench tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@"$(or $(PYTHON),python3)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "Expected Python 3.11 or newer, and $(or $(PYTHON),what is installed) is not." \
			"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up .venv with $$("$(PYTHON)" --version) and the pinned packages: about two minutes, 6 GB on Linux."
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
