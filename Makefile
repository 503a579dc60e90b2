# Everything that README.md promises. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS := broker,rapidocr,dev
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEMO_ARGS ?=
TEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup system demo test check format lint types imports clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: system $(VENV)/.installed ## Virtual environment and system packages (done by the others)

# Debian packages: Tesseract reads plates; venv and pip are packages of their own in Debian.
system:
	@missing=""; \
	command -v tesseract >/dev/null || missing="$$missing tesseract-ocr"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "please install:$$missing" >&2; exit 1; }; \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq $$missing >/dev/null; \
	fi

$(VENV)/.installed: pyproject.toml | system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "videojam needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q -e '.[$(EXTRAS)]'
	@touch $@

demo: setup ## Watch plates being read: four rendered cameras, a real Kafka, two minutes
	$(BIN)/videojam demo $(DEMO_ARGS)

test: setup ## All tests, those on the real broker included
	$(BIN)/pytest $(TEST_ARGS)

check: format lint types imports test ## Everything that must hold before a change lands

format: setup ## Formatting
	$(BIN)/ruff format --check .

lint: setup ## Style and likely mistakes
	$(BIN)/ruff check .

types: setup ## Strict types
	$(BIN)/mypy

imports: setup ## Who may import whom
	$(BIN)/lint-imports

clean: ## Remove what the targets made
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
