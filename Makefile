# make demo   environment, install, and the main job on the embedded data set
# make test   environment, install, and all tests: lint, types, unit and end-to-end tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint types unit clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(INSTALLED)

demo: $(INSTALLED)
	rm -rf runs/demo runs/demo-random
	$(BIN)/condensery condense --out runs/demo
	$(BIN)/condensery select random --ipc 1 --sets 5 --out runs/demo-random
	$(BIN)/condensery evaluate whole runs/demo-random runs/demo --epochs 300 --nets 5
	@echo "picture: runs/demo/images.png (rows are classes)"

test: lint types unit

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

unit: $(INSTALLED)
	$(BIN)/pytest

clean:
	rm -rf $(VENV) runs exported
