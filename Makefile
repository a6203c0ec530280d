PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench golden study near-slots month speed memory load faults clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[postgresql,plots]" --group dev
	touch $@

demo: $(STAMP)
	$(BIN)/chargehorizon demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/chargehorizon bench

golden: $(STAMP)
	$(BIN)/python tests/optimizer/planning/golden_models.py

test: lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not study"
	$(BIN)/pytest -m slow

near-slots: $(STAMP)
	$(BIN)/python -m scenarios.studies.near_slots

study: $(STAMP)
	$(BIN)/pytest -m study

month: $(STAMP)
	$(BIN)/python -m scenarios.studies.rolling_month --figure docs/month_replayed.svg

speed: $(STAMP)
	$(BIN)/python -m scenarios.studies.replay_speed

memory: $(STAMP)
	$(BIN)/python -m scenarios.studies.year_memory

load: $(STAMP)
	PYTHONPATH=. $(BIN)/python tests/load/measure_load.py

faults: $(STAMP)
	$(BIN)/chargehorizon faults

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
