# Everything a user or CI does; each target installs what it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CHAOS_FOLDER ?= build/chaos
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help setup browser test lint audit demo real named-videos accept chaos docs bench clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## Make .venv and install the project with its pinned dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

browser:  ## Install Chromium, which tests of the report drive (Debian, as root)
	-@{ command -v chromium && command -v chromedriver; } >/dev/null || test "$$(id -u)" != 0 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

test: setup browser  ## Run the test suite
	$(BIN)/python -m pytest -m "not accept and not chaos"

lint: setup  ## Check style, types and the rules of who may import what
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

audit: setup  ## Compare the pinned dependencies with known faults (asks PyPI), their licences with the list; scan the code
	$(BIN)/ruff check --select S .
	$(BIN)/python -m pytest tests/packaging/test_licences.py
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[audit]'
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt

demo: setup  ## Draw a benchmark; extract, train, evaluate, register, and compare with zero-shot CLIP
	$(BIN)/python workflows/demo.py --storage demo

real: named-videos setup  ## Train on your own folder with a manifest: make real VIDEOS=FOLDER [OPTIONS="--set ..."]
	@for table in manifest.parquet manifest.csv videos.parquet videos.csv; do \
		test -f "$(VIDEOS)/$$table" && exec $(BIN)/python workflows/train.py "$(VIDEOS)/$$table" $(OPTIONS); \
	done; echo "error: $(VIDEOS) has no manifest.csv, videos.csv or the like in Parquet" >&2; exit 2

named-videos:
	@test -n "$(VIDEOS)" || { echo "error: say which folder: make real VIDEOS=FOLDER" >&2; exit 2; }

accept: setup  ## Run what takes longer than the suite allows
	$(BIN)/python -m pytest -m accept

chaos: setup  ## Break every command on purpose; what was done is kept in build/chaos, and skipped the next time
	CHAOS_FOLDER=$(CHAOS_FOLDER) $(BIN)/python -m pytest tests/chaos -m chaos; status=$$?; \
		$(BIN)/python -m tests.chaos.write_table $(CHAOS_FOLDER) docs/reliability.md; \
		$(BIN)/python -m pytest tests/test_fuzz.py --hypothesis-profile=chaos && exit $$status

docs: setup  ## Build the site in build/site; a broken reference or link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

bench: setup  ## Measure speeds beside their baselines, and beside the run before; figures are kept in build/bench
	OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/python -m tests.benchmarks.bench build/bench $(CASES)

clean:  ## Remove the environment and the demo's results
	rm -rf $(VENV) demo
