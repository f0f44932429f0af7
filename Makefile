PYTHON ?= python3
PYTEST_ARGS ?=
NOX_ARGS ?=
# for example --package planning --all, or --seed 2 --number 50
MUTATION_ARGS ?=
# Processes that run tests. Whole files are handed out: what tests of a file share is made once.
TEST_JOBS ?= 2
# a test whose process has ended, as one that hangs is made to, has failed; others go on
SHARED_OUT := -n $(TEST_JOBS) --dist loadfile --max-worker-restart 0
PYTHON_FILES := activebmr paradigms benchmarks figures noxfile.py setup.py

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Each stamp records one finished step in the shared environment. A step that
# installs more than the plain package also counts as having installed it.
VENV_STAMP := $(VENV)/.stamp-venv
RUN_STAMP := $(VENV)/.stamp-run
TEST_STAMP := $(VENV)/.stamp-test
LINT_STAMP := $(VENV)/.stamp-lint
DIST_STAMP := $(VENV)/.stamp-dist
QUALITY_STAMP := $(VENV)/.stamp-quality
VERSIONS_STAMP := $(VENV)/.stamp-versions
DOCS_STAMP := $(VENV)/.stamp-docs
AUDIT_STAMP := $(VENV)/.stamp-audit
INSTALL_DEPS := $(VENV_STAMP) setup.cfg setup.py constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-versions coverage mutation lint docs docs-test figures bench dist audit pins clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUN_STAMP) ## run the three-ball paradigm; figures and a page go to results/three-ball
	$(BIN)/activebmr run three-ball --out results/three-ball --page
	@echo "open in a browser: file://$(CURDIR)/results/three-ball/page.html"

test: $(TEST_STAMP) ## run the tests, except the slow scientific checks
	$(BIN)/python -m pytest -m "not slow" $(SHARED_OUT) $(PYTEST_ARGS)

test-all: $(TEST_STAMP) ## run all the tests
	$(BIN)/python -m pytest $(SHARED_OUT) -o faulthandler_timeout=3600 $(PYTEST_ARGS)

test-versions: $(VERSIONS_STAMP) ## run the tests under every Python from 3.10 to 3.14 that is here
	$(BIN)/nox $(NOX_ARGS)

coverage: $(QUALITY_STAMP) ## run the tests as test does, and tell which branches they reach
	@mkdir -p build/coverage
	@# what was measured is told also where a test has failed
	@status=0; \
	$(BIN)/python -m pytest -m "not slow" $(SHARED_OUT) --cov --cov-report= $(PYTEST_ARGS) || status=$$?; \
	$(BIN)/coverage html --quiet; $(BIN)/python tests/branches.py; exit $$status
	@echo "line by line: file://$(CURDIR)/build/coverage/index.html"

mutation: $(QUALITY_STAMP) ## put small faults into the core, and tell which the tests miss (about an hour)
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation.py $(MUTATION_ARGS)

# vermin finds what Python 3.10 does not know, ruff what it cannot read; tests are run by 3.10 itself
lint: $(LINT_STAMP) ## check style, formatting, what Python 3.10 knows, and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --eval-annotations --violations --target=3.10- $(PYTHON_FILES)
	$(BIN)/zizmor --offline --quiet .github

docs: $(DOCS_STAMP) ## build the documentation in build/docs; it is read without a network
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going docs build/docs
	@echo "documentation: file://$(CURDIR)/build/docs/index.html"

docs-test: $(DOCS_STAMP) ## run the code of the documentation and build it without its notebooks
	$(BIN)/python -m pytest tests/test_docs.py $(PYTEST_ARGS)

figures: $(RUN_STAMP) ## run every script in figures/
	@set -e; for script in $(sort $(wildcard figures/*.py)); do \
		echo "$$script"; MPLBACKEND=Agg $(BIN)/python "$$script"; \
	done

bench: $(TEST_STAMP) ## run every script in benchmarks/
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do \
		echo "$$script"; MPLBACKEND=Agg $(BIN)/python "$$script"; \
	done

dist: $(DIST_STAMP) ## build the wheel and the source distribution in dist/, and check them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# a package that no database knows, or a database that does not answer, is an error: what was not looked up is not clean
audit: $(AUDIT_STAMP) ## look every version of constraints.txt up among known vulnerabilities (needs a network)
	$(BIN)/pip-audit --strict --progress-spinner off --disable-pip --no-deps -r constraints.txt

pins: $(VERSIONS_STAMP) ## check that constraints.txt pins all that any extra brings, on every Python and system
	$(BIN)/nox -s pins

clean: ## remove the environment, results, caches and build artefacts
	rm -rf $(VENV) results build dist *.egg-info
	rm -rf .pytest_cache .hypothesis .ruff_cache .nox
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV_STAMP):
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
		echo "error: $(PYTHON) not found; activebmr needs Python 3.10 or newer (set PYTHON=...)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "error: $$("$(PYTHON)" --version 2>&1) is too old; activebmr needs Python 3.10 or newer (set PYTHON=...)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot create environments: its venv or ensurepip module is missing" >&2; \
		echo "(on Debian and Ubuntu, install the python3-venv package)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(RUN_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e .
	@touch $@

$(TEST_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[test]'
	@touch $(RUN_STAMP) $@

$(LINT_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[lint]'
	@touch $(RUN_STAMP) $@

$(QUALITY_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[test,quality]'
	@touch $(RUN_STAMP) $(TEST_STAMP) $@

$(DIST_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[release]'
	@touch $(RUN_STAMP) $@

$(VERSIONS_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[versions]'
	@touch $(RUN_STAMP) $@

$(AUDIT_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[audit]'
	@touch $(RUN_STAMP) $@

$(DOCS_STAMP): $(INSTALL_DEPS)
	$(PIP_INSTALL) -e '.[test,docs]'
	@touch $(RUN_STAMP) $(TEST_STAMP) $@
