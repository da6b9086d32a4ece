# make quickstart   sets everything up and aligns the lab's model in four languages
# make test         sets everything up, checks style and types, and runs the tests
# make docs         builds the documentation as a site, in site/
# make audit        looks the pinned versions up in databases of vulnerabilities (needs the network)
# make sbom         writes what an installation consists of, as CycloneDX, to build/sbom.cdx.json
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test lint docs audit sbom clean

quickstart: $(VENV)/.runtime
	$(BIN)/lingualign align

test: $(VENV)/.development lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.development
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

audit: $(VENV)/.audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

sbom: $(VENV)/.audit
	$(PYTHON) -m venv build/runtime
	build/runtime/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --output-file build/sbom.cdx.json build/runtime/bin/python

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.development: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev,docs]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.audit: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[audit]'
	@touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) build dist site src/*.egg-info
