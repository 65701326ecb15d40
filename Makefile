# fs-sync: every target works in a fresh clone; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/installed
UV := $(BIN)/uv
HOST_PATH := $(PATH)
# The environment's programs (rclone among them) come first for all that is started from here.
export PATH := $(BIN):$(PATH)
# Tests mostly wait for real servers, so more of them than cores run side by side.
WORKERS ?= 4
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --constraint build/constraints.txt

.PHONY: help venv system demo ui service history sample-tree up down password images engine test lint types shellcheck format unit integration e2e stack lock wheel clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make the virtual environment from the lock

$(STAMP): requirements-dev.lock pyproject.toml lab/python.sh
	@PATH="$(HOST_PATH)" sh lab/system.sh venv
	@mkdir -p build
	@python=$$(PATH="$(HOST_PATH)" sh lab/python.sh) && echo "making $(VENV) with $$python" && \
	if ! "$(BIN)/python" -c 'import pip' 2>/dev/null; then rm -rf $(VENV) && "$$python" -m venv $(VENV); fi
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements-dev.lock > build/uv.lock
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r build/uv.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --require-hashes -r requirements-dev.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

system: ## Install what the system lacks (rsync, openssh-server), or say what to install
	@sh lab/system.sh demo

demo: venv system ## Replicate a real tree through the DAGs, change it, and again; writes build/demo.json
	@$(BIN)/python -m lab.demo

ui: venv system ## Start the same lab and Airflow, print the address and login, and leave it running until Ctrl-C
	@exec $(BIN)/python -m lab.ui

service: venv ## Sync from a server into a bucket as one file says, every minute, until Ctrl-C: make service ENV=service.env
	@sh lab/system.sh service
	@exec $(BIN)/python -m lab.service "$(if $(filter command,$(origin ENV)),$(ENV),service.env)"

history: venv ## The last runs of all routes, asked of a running Airflow: make history OPTIONS='--url http://… --route NAME --last 20'
	@$(BIN)/fs-sync-history $(OPTIONS)

sample-tree: venv ## Make a tree to try the DAGs with: make sample-tree DIR=build/sample OPTIONS='--largest 10G --sparse --seed 2'
	@$(BIN)/python -m lab.sample $(or $(DIR),build/sample) $(OPTIONS)

up: ## Start the stack of docker-compose.yml and wait until it is healthy
	@sh docker/up.sh

down: ## Stop the stack; its volumes stay
	@docker compose --profile demo --profile flower --profile service down

password: ## Print the password of the stack's user admin
	@docker compose exec -T airflow-apiserver cat /secrets/admin_password && echo

images: ## Build stand-ins of the stack's base images where there is no registry
	@sh docker/offline/images

engine: ## Install and start a Docker engine from Debian's packages (docker/offline/engine stop ends it)
	@sh docker/offline/engine start

test: lint types shellcheck unit integration e2e stack ## Everything: lint, types, shellcheck, unit, integration, e2e, stack

lint: venv ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv ## mypy, strict
	@$(BIN)/mypy

shellcheck: venv ## shellcheck on every script, and on the rendered templates (tests/unit)
	@$(BIN)/shellcheck lab/*.sh docker/*.sh docker/*/*.sh docker/offline/engine docker/offline/images .ci/run $(wildcard templates/remote/*.sh)

format: venv ## Mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

unit: venv ## Tests of the pure functions
	@$(BIN)/python -m pytest tests/unit -q -n $(WORKERS)

integration: venv ## Tests against real sshd, rsync, rclone, S3
	@sh lab/system.sh test
	@$(BIN)/python -m pytest tests/integration -q -n $(WORKERS)

e2e: venv ## Tests through a real scheduler
	@sh lab/system.sh test
	@$(BIN)/python -m pytest tests/e2e -q --ignore tests/e2e/stack

stack: venv ## Tests of the Compose stack on a Docker engine (REQUIRE_DOCKER=1: fail without one)
	@sh lab/system.sh stack
	@$(BIN)/python -m pytest tests/e2e/stack -q -rs --durations=12

# celery 5.7 moved a name that Airflow's celery provider imports: its executor can't be loaded.
# One set of versions: what the stack's image runs is what all tests run.
lock: venv ## Make the requirement locks anew (hashes, no addresses)
	@mkdir -p build && echo 'celery<5.7' > build/constraints.txt
	@$(COMPILE) --extra alerts --extra rclone --extra stack pyproject.toml -o docker/airflow/requirements.lock
	@$(COMPILE) --extra alerts --extra rclone --constraint docker/airflow/requirements.lock pyproject.toml -o requirements.lock
	@$(COMPILE) --extra alerts --extra rclone --extra dev --constraint docker/airflow/requirements.lock pyproject.toml -o requirements-dev.lock

wheel: venv ## Build the wheel into dist/
	@$(UV) build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .

clean: ## Remove what was made, the virtual environment too
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
