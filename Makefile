# make lab    opens the course in JupyterLab
# make test   runs every test, the lessons included
# make check  lint and what a minute and a half can test, for daily work
# Either one makes .venv and installs what it needs, once; afterwards that costs nothing.

VENV := .venv
BIN := $(VENV)/bin

# the first Python here that is new enough; or say: make PYTHON=/path/to/python3.12 lab
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help lab show exercises test check test-machines lint lint-js notebooks bench fuzz clean

help:
	@echo "make lab        open the course in JupyterLab"
	@echo "make show       one lesson as a page for a projector: make show LESSON=05"
	@echo "make exercises  what students get, in notebooks/exercises/release"
	@echo "make test       run every test, the lessons included"
	@echo "make check      lint, and the tests that are quick"
	@echo "make test-machines   what compares floats, as other processors compute it"
	@echo "make lint       check style and types, of Python and JavaScript"
	@echo "make notebooks  run the lessons and store their outputs"
	@echo "make bench      time qviz beside its peers"
	@echo "make fuzz       look for files that break a reader: make fuzz READER=gguf SECONDS=3600"
	@echo "make clean      delete caches and build outputs (to start over, delete $(VENV) too)"

lab: $(VENV)/.installed-lab
	$(BIN)/qviz lab $(LAB_ARGS)

show: $(VENV)/.installed-show
	@test -n "$(LESSON)" || { echo "Which one? Say, for instance: make show LESSON=05"; exit 1; }
	$(BIN)/qviz show $(LESSON) $(SHOW_ARGS)

exercises: $(VENV)/.installed-grade
	$(BIN)/python notebooks/exercises/release.py

# Compiled kernels are kept here from one run to the next: their cache knows what each was made from.
test check: export NUMBA_CACHE_DIR = $(CURDIR)/$(VENV)/numba
test: $(VENV)/.installed-dev
	$(BIN)/python tests/stages.py

check: lint
	$(BIN)/python tests/stages.py quick

test-machines: $(VENV)/.installed-dev
	$(BIN)/python tests/machines.py $(MACHINES)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(if $(NPM),$(MAKE) --no-print-directory lint-js,echo "JavaScript was not checked: npm is not installed")

# the painters of the pictures; ESLint and Prettier come from npm, once
NPM ?= $(shell command -v npm)
JS_TOOLS := tests/javascript/node_modules
JS_FILES := qviz/widgets/static qviz/course tests/javascript
# a file that was found right is looked at again when its content, a setting or the tool has changed
KEPT = --cache --cache-strategy content --cache-location $(JS_TOOLS)/.cache/$(1)
lint-js: $(JS_TOOLS)/.installed
	$(JS_TOOLS)/.bin/eslint $(call KEPT,eslint) --config tests/javascript/eslint.config.js $(JS_FILES)
	$(JS_TOOLS)/.bin/prettier $(call KEPT,prettier) --check --log-level warn --config tests/javascript/package.json \
		$(foreach folder,$(JS_FILES),'$(folder)/**/*.js')

$(JS_TOOLS)/.installed: tests/javascript/package.json
	@cd tests/javascript && $(NPM) install --no-package-lock --no-audit --no-fund --silent
	@touch $@

notebooks: $(VENV)/.installed-dev
	$(BIN)/python notebooks/build.py

bench: $(VENV)/.installed-dev
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# coverage-guided: minutes to hours for each reader of files; what it finds lies in artifacts/fuzz
fuzz: $(VENV)/.installed-dev
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	nice -n 19 $(BIN)/python tests/fuzz/run_atheris.py $(READER) --seconds $(or $(SECONDS),300)

clean:
	rm -rf build dist artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis .ipynb_checkpoints $(VENV)/numba
	find . -name $(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

$(VENV)/.installed-lab: pyproject.toml | $(VENV)/.made
	@echo "Installing into $(VENV) (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-show $(VENV)/.installed-grade: $(VENV)/.installed-%: pyproject.toml | $(VENV)/.made
	@echo "Installing into $(VENV), with what this needs (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(VENV)/.installed-lab

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	@echo "Installing into $(VENV), with the tools for tests (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed-lab $(VENV)/.installed-show $(VENV)/.installed-grade

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "qviz needs Python 3.11 or newer, and there is none on the PATH (python3 is:" \
		"$$(python3 --version 2>&1)). Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "qviz needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) could not make a virtual environment;" \
		"on Debian and Ubuntu, first run: sudo apt install python3-venv"; exit 1; }
	@touch $@
