# make demo   environment, install of the core alone, and the main job on the embedded data set
# make test   environment, install, and all tests: lint, types, unit and end-to-end tests
# make test-all   the same with the tests that are marked slow
# make docs   the documentation's site, in build/docs; a warning is an error
# make facts  what condensery list shows, written again from the code
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
INSTALLED := $(VENV)/.installed

INSTALLED_DOCS := $(VENV)/.installed-docs

.PHONY: demo docs facts test test-all lint types unit clean

# -qq: errors are shown, and warnings about extra index folders are not.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

$(CORE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $(CORE)

$(INSTALLED): $(CORE)
	$(PIP) -e ".[dev]"
	touch $(INSTALLED)

demo: $(CORE)
	rm -rf runs/demo
	$(BIN)/condensery condense --ipc 1 --sets 3 --iterations 60 --formation.start_from kmeans --out runs/demo/dm
	$(BIN)/condensery select random --ipc 1 --sets 5 --out runs/demo/random
	$(BIN)/condensery evaluate whole runs/demo/random runs/demo/dm --epochs 200 --nets 2
	@echo "picture: runs/demo/dm/0/images.png (rows are classes)"
	@echo "The table: networks trained on ten learned images, beside ten random ones and all 1438."

$(INSTALLED_DOCS): $(INSTALLED)
	$(PIP) -e ".[docs]"
	touch $(INSTALLED_DOCS)

docs: $(INSTALLED_DOCS)
	$(BIN)/mypy docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

FACTS := src/condensery/cli/facts.json
facts: $(INSTALLED)
	$(BIN)/python -m condensery.cli.computed_facts > $(FACTS).new
	mv $(FACTS).new $(FACTS)

test: lint types unit

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=src $(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy

# Tests start processes that import much: what Python has compiled is kept.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadgroup

unit: $(INSTALLED)
	$(PYTEST)

test-all: lint types
	$(PYTEST) -m "slow or not slow" -p nbmake --nbmake tests examples

clean:
	rm -rf $(VENV) runs exported
