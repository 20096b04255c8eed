# Everything sets itself up: each target makes .venv when it is missing or older than what it is made from.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# `--python`: pip needs not be in the environment, so that a system without ensurepip will do.
INSTALL = $(PYTHON) -m pip --disable-pip-version-check --python $(BIN)/python install --quiet --constraint constraints.txt
WANTS = pyproject.toml constraints.txt Makefile

.PHONY: demo test lint acceptance bench results secrets compose-test

demo: .venv/.main
	$(BIN)/tintype demo $(ARGS)

# Two files of tests at a time: much of the time is spent waiting for processes.
test: .venv/.dev
	$(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

acceptance: .venv/.dev
	$(BIN)/pytest tests/acceptance $(ARGS)

secrets:
	@deploy/secrets.sh

compose-test:
	@tests/acceptance/compose.sh

bench: .venv/.dev
	$(BIN)/python -m benchmarks.online
	$(BIN)/python -m benchmarks.folder
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.exports
	$(BIN)/python -m benchmarks.swaps

results: .venv/.dev
	$(BIN)/python -m benchmarks.results $(if $(MNIST),--mnist $(MNIST)) $(if $(CIFAR10),--cifar10 $(CIFAR10)) \
		$(if $(CATS_DOGS),--cats-dogs $(CATS_DOGS)) $(ARGS)

.venv/.main: $(WANTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tintype needs Python 3.11 or newer; make PYTHON=/path/to/python3.11")'
	@echo "Installing into .venv: about a minute the first time"
	@$(PYTHON) -m venv --without-pip .venv
	@$(INSTALL) --editable '.[train,serve]'
	@touch $@

.venv/.dev: .venv/.main
	@echo "Installing the tools of the tests into .venv"
	@$(INSTALL) --editable '.[train,serve,dev]'
	@touch $@
