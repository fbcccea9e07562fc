# Thin aliases; every target sets up its own environment from nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# torch comes first and by its exact version: any other request may fetch a build for GPUs.
TORCH := torch==2.13.0
# Left out: what GPUs need, and uv, with which Flower would install what an app asks for.
LEFT_OUT := $(foreach name,cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas \
	nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft \
	nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 \
	nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx triton torch uv,--no-emit-package $(name))

.PHONY: help demo test test-slow test-again pictures check audit lock clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $(READY)

demo: $(READY)  ## bring up a hub and three partners on a simulated town, and train
	$(BIN)/lianfang demo

test: $(READY)  ## the default suite
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

test-slow: $(READY)  ## statistical, fault and whole-system tests that take minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

test-again: $(READY)  ## what failed last; both suites share processes with a busy machine
	$(BIN)/python -m pytest -m "slow or not slow" --last-failed --last-failed-no-failures none

pictures: $(READY)  ## take the pictures of the documentation anew; needs Chromium
	rm -rf .pictures && mkdir .pictures
	LIANFANG_PICTURES=.pictures $(BIN)/python -m pytest -m slow tests/clients/desk/pages tests/compliance/signin -k chromium
	for picture in docs/pictures/*.png; do cp ".pictures/$$(basename $$picture)" "$$picture"; done
	rm -rf .pictures

check: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit:  ## look for known weaknesses in what is installed; needs the network
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet "pip-audit>=2.10,<3"
	echo "$(TORCH)" > .venv-audit/torch.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement .venv-audit/torch.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements-operation.lock

LOCKING := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(LEFT_OUT)

lock:  ## pin every dependency anew, with hashes: for developers, and for operation alone
	$(LOCKING) --extra dev --output-file requirements.lock
	$(LOCKING) --extra otel --constraint requirements.lock --output-file requirements-operation.lock

clean:  ## remove the environment and the demonstration's data
	rm -rf $(VENV) .venv-audit lianfang-data
