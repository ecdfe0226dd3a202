# Each target sets up what it needs in .venv and nowhere else; the variables can be given on the command line:
#   PROFILE       demo (default), lfw, celeba, paper or a .yaml file: the scale at which `make reproduce` runs
#   ARGS          further arguments of `python -m facelib reproduce` or `compare`, or of JupyterLab
#   A, B          the two photos of `compare`
#   PYTHON        the interpreter to build .venv with; by default the first suitable one of CANDIDATES
#   REQUIREMENTS  what to install; by default requirements.txt with a working GPU driver, else requirements-cpu.txt

PROFILE ?= demo
CANDIDATES := python3.12 python3.11 python3.10 python3
PY := .venv/bin/python

ifdef REQUIREMENTS
REASON := as asked for
else ifneq ($(shell gpus=$$(nvidia-smi -L 2>/dev/null) && echo "$$gpus" | grep '^GPU [0-9]'),)
REQUIREMENTS := requirements.txt
REASON := a GPU driver works
else
REQUIREMENTS := requirements-cpu.txt
REASON := no working GPU driver
endif

# The stamp is written last, so that an interrupted set-up does not count, and its name holds a checksum of all
# that the environment depends on, so that it is made anew when some of that changes, and only then.
# Of pyproject.toml that is the build and the project, not the settings of tools.
DEPENDS = pwd; cat $(REQUIREMENTS) constraints.txt; awk '/^\[/ {on = /^\[(build-system|project)/} on' pyproject.toml
STAMP := .venv/complete-$(shell ($(DEPENDS)) | cksum | cut -d ' ' -f 1)

# An environment whose interpreter is gone, or is not of the version asked for, is made anew too. One without a stamp,
# of pip or of an interrupted set-up, is completed.
version = $(shell $(1) -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null)
ifeq ($(call version,$(PY)),)
ANEW := yes
else ifdef PYTHON
ifneq ($(call version,$(PY)),$(call version,$(PYTHON)))
ANEW := yes
endif
endif
ifdef ANEW
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help reproduce compare test test-all lab clean

reproduce: $(STAMP)  ## run the notebooks in order and write every figure and number again (PROFILE=demo, lfw, celeba, paper)
	$(PY) -m facelib reproduce --profile "$(PROFILE)" $(ARGS)

compare: export FIRST := $(value A)
compare: export OTHER := $(value B)
compare: $(STAMP)  ## say whether two photos show one person (A=one.jpg B=other.jpg, options as ARGS=--largest)
	$(if $(and $(A),$(B)),,$(error Name two photos: make compare A=one.jpg B=other.jpg))
	@$(PY) -m facelib compare "$$FIRST" "$$OTHER" $(ARGS) || [ $$? -eq 1 ]  # 1: different people, which is an answer

test: $(STAMP)  ## check style and types, run the tests and compare the committed notebooks with a fresh run
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest --nbval -m "not slow and not browser" $(COVERED) tests notebooks

test-all: COVERED := --cov --cov-report=
test-all: test  ## the same, then the slow tests and those in a browser, and how much of the code all of them run
	$(PY) -m pytest -m "slow or browser" --cov --cov-append --cov-report=term:skip-covered tests
	$(PY) -m coverage report --fail-under=90 --format=total

lab: $(STAMP)  ## open the notebooks in JupyterLab (as root with ARGS=--allow-root)
	$(PY) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_overview.ipynb $(ARGS)

clean:  ## remove .venv and what tools leave behind; data sets and trained models stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@echo "Kept: data/ and the cache with trained models, $${FACELIB_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/facelib}"

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1|/p' $(MAKEFILE_LIST) | awk -F '|' '{printf "%-18s%s\n", $$1, $$2}'

SUITABLE := import ensurepip, sys, venv; assert (3, 10) <= sys.version_info[:2] <= (3, 12)

$(STAMP):
	@if [ -z "$(ANEW)$(wildcard .venv/complete-*)" ] && $(PY) -c '$(SUITABLE); import pip' 2>/dev/null; then \
	    echo "Completing .venv from $(REQUIREMENTS) ($(REASON))."; exit; \
	fi; \
	for python in $(or $(PYTHON),$(CANDIDATES)) none; do \
	    if [ "$$python" = none ]; then \
	        echo "Error: Python 3.10, 3.11 or 3.12 with its venv module is needed; tried: $(or $(PYTHON),$(CANDIDATES))."; \
	        echo "On Debian or Ubuntu: apt install python3-venv. To name an interpreter: make PYTHON=/path/to/python3.11"; \
	        exit 1; \
	    fi >&2; \
	    "$$python" -c '$(SUITABLE)' 2>/dev/null && break; \
	done; \
	echo "Setting up .venv with $$("$$python" --version) from $(REQUIREMENTS) ($(REASON)); this takes some minutes."; \
	rm -rf .venv && "$$python" -m venv .venv
	@$(PY) -m pip install -qq --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@
