# `make run` serves the app, `make test` checks everything, `make space SPACE=you/gemma-space` has the
# Hub serve it; all set up what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint audit space demo-model demo-adapter clean

run: $(VENV)/.run
	$(BIN)/python app.py

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Asks PyPI what is known against the installed packages; from an environment of its own.
audit: $(VENV)/.run
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

space: $(if $(SPACE),$(VENV)/.run)
	$(if $(SPACE),,$(error Which Space? Name it: make space SPACE=you/gemma-space))
	$(BIN)/python -m tools.space $(SPACE)

demo-model: $(VENV)/.run
	$(BIN)/python -m training

demo-adapter: $(VENV)/.run
	$(BIN)/python -m training --adapter

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: $(VENV)/.created requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
