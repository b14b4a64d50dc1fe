# costkit: `make eval` runs the main job, `make test` runs every check. Both set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECTS := shared packages/langchain_costkit packages/llamaindex_costkit evals
SOURCES := -e './shared[offline,qdrant,flashrank,postgres]' -e './packages/langchain_costkit[agents]' -e ./packages/llamaindex_costkit -e './evals[anthropic,app]'
INSTALLED := .venv/.installed
GOLDEN ?= evals/golden/handbook

.PHONY: help install eval test lint types architecture unit wheels format lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Set up .venv with costkit, the frameworks and the tools

$(INSTALLED): constraints.txt requirements-dev.txt $(PROJECTS:%=%/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet -c constraints.txt -r requirements-dev.txt $(SOURCES)
	@touch $@

eval: $(INSTALLED) ## Prepare the offline model and run naive RAG against costkit RAG on the golden set
	$(BIN)/costkit models
	$(BIN)/costkit eval --golden $(GOLDEN)

test: $(INSTALLED) lint types architecture unit ## Lint, types, import rules, unit and end-to-end tests

lint: $(INSTALLED) ## Style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Static types
	$(BIN)/mypy

architecture: $(INSTALLED) ## Import direction
	$(BIN)/lint-imports

unit: $(INSTALLED) ## Tests
	$(BIN)/costkit models
	$(BIN)/python -m pytest -q

wheels: $(INSTALLED) ## Build the four wheels into dist/
	rm -rf dist
	for project in $(PROJECTS); do $(BIN)/python -m build --wheel --outdir dist $$project || exit 1; done

format: $(INSTALLED) ## Rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Resolve the newest versions anew and write constraints.txt
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check install --quiet -r requirements-dev.txt $(SOURCES)
	grep '^#' constraints.txt > .venv-lock/constraints.txt
	.venv-lock/bin/python -m pip --disable-pip-version-check freeze --exclude-editable >> .venv-lock/constraints.txt
	mv .venv-lock/constraints.txt constraints.txt
	rm -rf .venv-lock

clean: ## Remove the environment and everything that was built
	rm -rf .venv .venv-* dist .costkit eval-runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
