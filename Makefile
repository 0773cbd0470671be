# Every task of the project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: help install compile demo test check fmt bench bench-peers bench-growth quality e2e screens chaos chaos-mutants starts lock clean deploy-check audit soak

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## create .venv with the pinned dependencies and the `vitals` command

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Vitals needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Creating $(VENV) and installing the pinned dependencies (some minutes at the first run) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@$(BIN)/python -m service.compiled
	@touch $@
	@echo "Installed: $(BIN)/vitals" >&2

compile: install ## compile the scoring core anew after an edit (until then it runs as plain Python)
	@$(BIN)/python -m service.compiled

demo: install ## run everything together: broker, worker, a simulated stream, a live view (ARGS="--seconds 60 --json")
	@$(BIN)/vitals demo $(ARGS)

test: install ## run every test but those of a browser and of `make deploy-check`, three at a time (ARGS="-k name" narrows, ARGS="-n 0" runs one after the other)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 25 -m "not browser and not live" $(ARGS)

e2e: install ## test the page in a real headless Chromium, installed where that is allowed (ARGS="-k name" narrows)
	@tests/e2e/chromium.sh
	@$(BIN)/python -m pytest -n 3 --dist loadfile -m browser tests/e2e $(ARGS)

screens: install ## take pictures of every page, light, dark and on a phone, into docs/screens
	@tests/e2e/chromium.sh
	@$(BIN)/python -m tests.e2e.screens

soak: install ## the laws of the core and the fuzz of the decoder on 100,000 new cases each, an hour or more (ARGS="FIRST_SEED ROUNDS")
	@$(BIN)/python -m tests.scoring.soak $(ARGS)

check: install ## format, lint, types, layers: all that CI checks besides the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## format and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## measure throughput, latency, memory, recovery, API and page on the embedded broker (five to six minutes)
	@$(BIN)/python -m benchmarks.run $(ARGS)

bench-peers: install ## compare with other engines, each installed at first use (up to an hour; ARGS="--only ours kstreams-1 --events 100000")
	@$(BIN)/python -m benchmarks.peers.run $(ARGS)

bench-growth: install ## measure how an event's cost grows with accounts, partitions, batches, sizes, lateness and alerts
	@$(BIN)/python -m benchmarks.growth $(ARGS)

quality: install ## judge the default model on simulated companies: who is warned, who is bothered (ARGS="--json")
	@$(BIN)/python -m benchmarks.alert_quality $(ARGS)

chaos: install ## break workers, brokers and links for up to an hour, and compare all that is left (ARGS="--seeds 7,8 --report docs F1 F8")
	@$(BIN)/python -m tests.chaos $(ARGS)

chaos-mutants: install ## run every seeded bug of the runtime against the scenario that must notice it
	@$(BIN)/python -m tests.chaos --mutants $(ARGS)

deploy-check: install ## hold deploy/ against running processes: metrics, rules, dashboards, image, compose file (installs Debian's Prometheus where it may)
	@tests/deploy/tools.sh
	@BUILD_IMAGE=1 $(BIN)/python -m pytest tests/deploy $(ARGS)

audit: install ## known vulnerabilities, licences, and a list of parts (CycloneDX) of what the product installs
	@deploy/audit.sh

starts: install ## start and stop 200 workers on a busy machine while topics are being made (ARGS=COUNT)
	@$(BIN)/python -m tests.chaos.starts $(ARGS)

lock: install ## resolve pyproject.toml anew into requirements/*.txt, with hashes and without addresses
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  -o requirements/run.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  -o requirements/api.txt --extra api pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  -o requirements/dev.txt --extra api --group dev pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  -o requirements/audit.txt requirements/audit.in
	for peer in benchmarks/peers/requirements/*.in; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    -o $${peer%.in}.txt $$peer; done

clean: ## stop the embedded broker and remove what the other targets made, its data too
	@[ ! -x $(BIN)/vitals ] || $(BIN)/vitals kafka down
	rm -rf $(VENV) .vitals service/scoring/_compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
