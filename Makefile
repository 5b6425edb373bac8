.DEFAULT_GOAL := help
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
# What .venv is made with: the first of these that is here, or PYTHON=...
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14; do \
	  $$python -c 'import ensurepip' 2>/dev/null && echo $$python && break; done)
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# Of the container images: any command that takes the options of `docker build`.
IMAGES := front pipeline engine models studio
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILDER ?= $(shell for tool in docker podman buildah; do command -v $$tool && break; done) build
BUILD_ARGS ?=

.PHONY: help setup lock protos fmt lint type test test-fast test-cluster demo bench mutate images manifests train-tiny clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create .venv with the pinned packages

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "install one of Python 3.11 to 3.14 with its venv, or give PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: $(STAMP) ## Pin what is installed now
	(echo "# Every package of a checkout, pinned. Written by: make lock"; \
	 $(VENV_PYTHON) -m pip freeze --exclude-editable | sed 's/^torch==\([0-9.]*\).*/torch==\1/') > requirements.lock

protos: $(STAMP) ## Generate the Python stubs from protos/
	$(VENV_PYTHON) protos/generate.py

fmt: $(STAMP) ## Format the code
	ruff format
	ruff check --fix

lint: $(STAMP) ## Check protos, stubs, style, imports and types
	buf lint
	buf breaking --against protos/released.binpb
	$(VENV_PYTHON) protos/generate.py --check
	ruff format --check
	ruff check
	lint-imports
	mypy

test-fast: $(STAMP) ## Everything but the tests that start TorchServe or a cluster
	pytest -m "not torchserve and not cluster" -n auto --maxprocesses 8 --dist loadfile --durations=15 -rs

test: lint test-fast ## Lint, types and all tests; those that lack something are skipped and say what
	pytest -m "torchserve or cluster" --durations=15 -rs

test-cluster: $(STAMP) ## Only those that build the images and deploy them on a cluster of their own; need root
	pytest -m cluster -rP --durations=15

demo: $(STAMP) ## Build a dataset of 256 candidates through TorchServe and write out/demo/report.html
	faceloom demo --out out/demo

bench: $(STAMP) ## Measure speed and memory into out/bench/*.json
	$(VENV_PYTHON) -m tests.bench

mutate: $(STAMP) ## Change the code in 100 places, one at a time, and count what tests notice: out/mutate.json
	$(VENV_PYTHON) -m tests.mutation

images: $(IMAGES:%=image-%) ## Build the container images; BUILDER="podman build" and BUILD_ARGS="--build-arg ..." if need be

# Each begins with the layers of another; with -j2 the engine is built beside the pipeline.
image-pipeline image-engine image-studio: image-front
image-models: image-pipeline

image-%:
	@test "$(strip $(BUILDER))" != build || { echo "install docker, podman or buildah, or set BUILDER" >&2; exit 2; }
	$(BUILDER) -f deploy/images/Dockerfile --target $* -t faceloom/$*:$(VERSION) \
	  --label org.opencontainers.image.version=$(VERSION) \
	  --label org.opencontainers.image.revision=$$(git rev-parse HEAD) $(BUILD_ARGS) .

manifests: $(STAMP) ## Render what deploy/ takes from the service.toml files and from the tiny models
	$(VENV_PYTHON) deploy/manifests.py

train-tiny: $(STAMP) ## Make the tiny models again, into out/train; takes many hours
	$(MAKE) -j2 -f model_store/tiny/recipe.mk WORK=$(CURDIR)/out/train

clean: ## Remove what was made
	rm -rf out build $(VENV) .mypy_cache .ruff_cache .pytest_cache
