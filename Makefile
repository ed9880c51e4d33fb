# make demo    set up what is needed and accompany the bundled recording
# make test    set up everything and run the tests
# make check   ruff, format and types
# make system  Debian packages for songs and browser tests (as root or with sudo; else says what to do)
# make wheel   dist/fastsag-*.whl
# make clean   remove what was built; .venv stays
#
# Set-up happens once and again when pyproject.toml or constraints.txt change.

PYTHON ?= python3.11
VENV ?= .venv
DEMO_VOICE ?= fastsag/assets/demo-voice.flac
DEMO_OUTPUT ?= demo-output
PYTEST_FLAGS ?=
# Flags for installing torch alone, such as --index-url with the address of its CPU builds.
TORCH_FLAGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --no-build-isolation -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# What packages without a wheel need to be built (pyworld: the headers of numpy, and Cython).
BUILD := $(shell grep -iE '^(setuptools|numpy|cython)==' constraints.txt)
PACKAGES := mma libfluidsynth3 fluidr3mono-gm-soundfont musescore-general-soundfont-small \
	espeak-ng flite chromium
APT := apt-get -o Acquire::Retries=1 -o Acquire::http::Timeout=20

.PHONY: demo test check system wheel clean

demo: $(VENV)/.ready-demo
	$(BIN)/fastsag accompany $(DEMO_VOICE) -o $(DEMO_OUTPUT) --plot --overwrite
	@echo
	@echo "Listen to $(DEMO_OUTPUT)/$(basename $(notdir $(DEMO_VOICE))).mix.wav (voice and band)"
	@echo "or $(DEMO_OUTPUT)/$(basename $(notdir $(DEMO_VOICE))).accompaniment.wav (band alone)."

test: $(VENV)/.ready-dev system
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(VENV)/.ready-dev
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation
	@ls -l dist/*.whl

clean:
	rm -rf build dist *.egg-info $(DEMO_OUTPUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch comes first and alone, by an exact pin, and only if it brings no CUDA packages along.
$(VENV)/.ready-torch: constraints.txt | $(BIN)/python
	@echo "Installing $(TORCH) (CPU) ..."
	@$(PIP) install --dry-run $(TORCH_FLAGS) $(TORCH) > $(VENV)/torch-plan.txt || \
		{ cat $(VENV)/torch-plan.txt; exit 1; }
	@if grep -qiE 'would install.* (nvidia|cuda)' $(VENV)/torch-plan.txt; then \
		echo "$(TORCH): only a build with gigabytes of CUDA packages was found, not installed;"; \
		echo "run make with TORCH_FLAGS='--index-url <address of the CPU builds of torch>'"; \
		exit 1; fi
	$(PIP) install --quiet $(TORCH_FLAGS) $(TORCH)
	$(PIP) install --quiet $(BUILD)
	@touch $@

$(VENV)/.ready-demo: pyproject.toml constraints.txt $(VENV)/.ready-torch
	@echo "Installing what the demo needs ..."
	$(INSTALL) -e '.[plot]'
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt $(VENV)/.ready-torch
	@echo "Installing what development needs ..."
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.ready-demo

# Never fails: without these programs the tests of songs and of pages in a browser are skipped.
system:
	@missing=$$(for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
			|| echo $$package; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	missing=$$(echo $$missing); \
	if [ "$$(id -u)" = 0 ]; then root=""; else root="sudo -n"; fi; \
	if ! command -v apt-get > /dev/null || ! $$root true 2> /dev/null; then \
		echo "Skipped (needs apt-get and root): $$missing; without them no songs are made and no page is tested in a browser"; \
		exit 0; fi; \
	echo "Installing $$missing ..."; \
	{ $$root $(APT) -qq update; $$root env DEBIAN_FRONTEND=noninteractive \
		$(APT) -qq install --yes --no-install-recommends $$missing; } > /dev/null \
		|| echo "Skipped (apt-get failed): $$missing; without them no songs are made and no page is tested in a browser"
