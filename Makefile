# Everything that a person or a CI job starts here. `make` alone lists it.

PORT ?= 8000
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
BENCH_VENV := .venv-bench
DEMO_URL := http://127.0.0.1:$(PORT)/

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench screenshots lint format clean

help:
	@echo "make demo [PORT=8000]   a small shop with a live inbox, on $(DEMO_URL)"
	@echo "make test               every test there is, with a summary; the first run takes longer, it installs"
	@echo "make faults             the ten guarantees under attack, at full size, with the figures reached: about 20 minutes"
	@echo "make bench [BENCH=...]  the app beside plain Channels and others, measured: about fifteen minutes; BENCH=--help lists options"
	@echo "make screenshots        a picture of every state of the page, into docs/images; needs a Chromium"
	@echo "make lint               ruff, mypy and the import floors only"
	@echo "make format             lay the code out as make lint wants it"
	@echo "make clean              remove what the other targets have made"
	@echo
	@echo "$(PYTHON) tests/run.py unit js     some stages of make test; --help names them all"

demo: $(VENV)/.demo-installed
	@echo "==> Preparing the database"
	@$(PYTHON) manage.py migrate --verbosity 0
	@$(PYTHON) manage.py seed_demo --address $(DEMO_URL)
	@exec $(VENV)/bin/daphne --bind 127.0.0.1 --port $(PORT) --verbosity 0 project.asgi:application

test: $(VENV)/.tests-installed
	@$(PYTHON) tests/run.py

faults: $(VENV)/.tests-installed
	@$(PYTHON) tests/run.py faults_sqlite faults_postgres

bench: $(BENCH_VENV)/.installed
	@$(BENCH_VENV)/bin/python -m benchmarks $(or $(BENCH),--page)

screenshots: $(VENV)/.tests-installed
	@$(PYTHON) -m tests.browser.screenshots $(STATES)

lint: $(VENV)/.tests-installed
	@$(PYTHON) tests/run.py lint types floors

format: $(VENV)/.tests-installed
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(BENCH_VENV) benchmarks/results artefacts build dist *.sqlite3 *.sqlite3-shm *.sqlite3-wal
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .nox .coverage* htmlcov tests/js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@.ci/make-venv $(VENV)

$(VENV)/.demo-installed: requirements.txt | $(PYTHON)
	@echo "==> Installing what the demo runs on into $(VENV)"
	@sed '/^# --- tests ---/,$$d' requirements.txt > $(VENV)/demo-requirements.txt
	@$(PIP_INSTALL) -r $(VENV)/demo-requirements.txt
	@touch $@

$(VENV)/.tests-installed: requirements.txt | $(PYTHON)
	@echo "==> Installing what the tests run on into $(VENV)"
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@ $(VENV)/.demo-installed

$(BENCH_VENV)/.installed: requirements.txt requirements-bench.txt
	@test -x $(BENCH_VENV)/bin/python || .ci/make-venv $(BENCH_VENV)
	@echo "==> Installing what the benchmarks run on into $(BENCH_VENV)"
	@sed '/^# --- tests ---/,$$d' requirements.txt > $(BENCH_VENV)/site-requirements.txt
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(BENCH_VENV)/site-requirements.txt -r requirements-bench.txt
	@touch $@
