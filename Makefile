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
	rm -rf runs/demo
	$(BIN)/condensery condense --ipc 1 --out runs/demo/dm-1
	$(BIN)/condensery condense --out runs/demo/dm-10
	$(BIN)/condensery select random --ipc 1 --sets 5 --out runs/demo/random-1 --quiet
	$(BIN)/condensery select random --ipc 10 --sets 5 --out runs/demo/random-10 --quiet
	$(BIN)/condensery evaluate whole runs/demo/random-1 runs/demo/dm-1 \
		runs/demo/random-10 runs/demo/dm-10 --epochs 300 --nets 3
	@echo "pictures: runs/demo/dm-1/images.png runs/demo/dm-10/images.png (rows are classes)"

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
