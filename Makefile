# Everything a person does with this repository. `make` alone lists it.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
STUBS := moshi_cluster/v1/.generated
PROTOS := protos/moshi_cluster/v1 $(wildcard protos/moshi_cluster/v1/*.proto)  # the folder: files come and go
TYPED := -p moshi_cluster -p benchmarks -p training -p scripts

GHZ_TARGET ?= localhost:50051
GHZ_CODEC_TARGET ?= localhost:50052
GHZ_LM_TARGET ?= localhost:50053
K6_TARGET ?= localhost:50051

# A machine with a GPU may have nothing but PyTorch with its Triton: no environment is made there.
GPU_PYTHON ?= $(or $(wildcard $(BIN)/python),python3)

# Tools that check the deployment, in an environment of their own: they have many dependencies.
DEPLOY_VENV ?= .venv-deploy
DEPLOY_TOOLS := $(DEPLOY_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install stubs serve demo eval test parity bench gpu load survive cluster-check compose-check deploy-check images sbom telephony alerts-check triton ghz k6 lint format clean

help: ## This list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

install: $(INSTALLED) ## A virtual environment in .venv with everything that runs and checks the code

stubs: $(STUBS) ## Python code for protos/, in moshi_cluster/v1/ (not checked in)

serve: $(STUBS) ## Moshi on this machine, page and gRPC, until Ctrl-C; SERVE="--hf-repo OWNER/NAME" names another model
	$(BIN)/moshi-cluster serve $(SERVE)

demo: $(STUBS) ## Four callers talk with the demo model at once: questions, answers, both voices in demo/, latencies
	$(BIN)/python -m scripts.demo

eval: $(STUBS) ## 500 exchanges with the demo model through a cluster; EVAL=--recorded takes 22 and needs no synthesiser
	$(BIN)/python -m training.evaluate.live $(EVAL)

test: lint ## Lint, types, contract and all tests, whole-cluster tests included
	$(BIN)/pytest -n 3 --dist loadfile

parity: $(STUBS) ## Only the comparisons with the original implementation (GOLDEN_DIR names another golden set)
	$(BIN)/pytest -m parity -v

bench: $(STUBS) ## Time per LM step and codec frame against batch size
	$(BIN)/python -m benchmarks.offline

gpu: ## Everything that is measured on a GPU, in 8 minutes, needs PyTorch alone; GPU=--dry: tiny, on a CPU
	$(GPU_PYTHON) -m benchmarks.gpu $(GPU)

triton: $(STUBS) ## Mimi in a real tritonserver beside the torch backend: parity, calls, kill and restart, added latency; TRITON="--seconds 30"
	$(BIN)/python -m benchmarks.triton $(TRITON)

ghz: $(STUBS) ## Load scenarios with the ghz on PATH (GHZ_TARGET=host:port, GHZ_SCENARIOS="smoke ramp", GHZ_CALLS=8, GHZ_CALL_S=5)
	$(BIN)/python -m benchmarks.ghz $(GHZ_SCENARIOS) --target $(GHZ_TARGET) --codec-target $(GHZ_CODEC_TARGET) \
		--lm-target $(GHZ_LM_TARGET) $(if $(GHZ_CALLS),--calls $(GHZ_CALLS)) $(if $(GHZ_CALL_S),--call-s $(GHZ_CALL_S))

k6: ## Phone calls with the k6 on PATH (K6_TARGET=host:port, K6_CALLS=8,16,32,64, K6_CALL_S=30)
	k6 run -e TARGET=$(K6_TARGET) $(if $(K6_CALLS),-e CALLS=$(K6_CALLS)) $(if $(K6_CALL_S),-e CALL_S=$(K6_CALL_S)) \
		benchmarks/k6/call.js

load: $(STUBS) ## Real-time calls to a cluster started for it; LOAD="ramp --callers 16" asks for others
	$(BIN)/python -m benchmarks.online $(or $(LOAD),steady) --local

telephony: $(STUBS) ## Simulated telephone systems call over all wires at once; TELEPHONY="--wires twilio --calls 8"
	$(BIN)/python -m training.evaluate.telephony $(TELEPHONY)
	$(BIN)/pytest -q tests/cluster/test_streamdouble.py  # the simulator that MOSHI_STREAMDOUBLE names, if it does

cluster-check: $(STUBS) ## The Kubernetes of KUBECONFIG is hurt while people talk; CLUSTER_LOAD="kind load docker-image {image}" CLUSTER="drain"
	$(BIN)/python -m benchmarks.cluster_check $(if $(CLUSTER_LOAD),--load '$(CLUSTER_LOAD)') $(CLUSTER)

compose-check: $(STUBS) $(DEPLOY_TOOLS) ## docker-compose.yml is hurt while people talk, with the images of `make images`; COMPOSE="eval stop"
	PATH="$(abspath $(DEPLOY_VENV))/bin:$$PATH" $(BIN)/python -m benchmarks.compose $(COMPOSE)

survive: $(STUBS) ## Workers and gateways are killed, frozen, restarted while people talk; SURVIVE="kill-lm" or "--random --minutes 120"
	$(BIN)/python -m benchmarks.survive $(SURVIVE)

alerts-check: $(STUBS) ## Alerts fire and dashboards show data: a cluster in trouble under a live Prometheus (Debian: prometheus)
	$(BIN)/python -m benchmarks.alerts $(ALERTS)

deploy-check: $(DEPLOY_TOOLS) ## Lint and schemas of what deploys it: Dockerfile, compose file, Kubernetes, Prometheus
	$(DEPLOY_VENV)/bin/python -m benchmarks.deploy

images: ## The container images, with podman or docker, and their sizes (ENGINE, TORCH=cuda, IMAGES="triton codec-triton")
	deploy/images/build.sh $(BUILD)

sbom: $(DEPLOY_TOOLS) ## What the images install as CycloneDX files in build/sbom/
	mkdir -p build/sbom
	for image in gateway codec lm codec-triton torch-cpu torch-cuda triton; do \
		$(DEPLOY_VENV)/bin/cyclonedx-py requirements deploy/images/$$image.txt --output-reproducible \
			--outfile build/sbom/$$image.cdx.json; done

lint: $(STUBS) ## Lint and format check, types, contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/buf lint

format: $(INSTALLED) ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was generated; the virtual environment and downloads stay
	rm -rf moshi_cluster/v1 build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis reply.wav demo
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml setup.py constraints.txt | $(BIN)/python
	@echo "== Installing into $(VENV): the first time takes some minutes, most of it PyTorch"
	@# Alone and first: the largest download; pip's own configuration decides between a CPU and a GPU build.
	$(BIN)/python -m pip install --disable-pip-version-check torch==2.13.0
	@# What builds this package: without isolation it comes from here, in the version that everything else uses.
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt setuptools grpcio-tools
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt --no-build-isolation \
		-e '.[all,triton,tracing,bench,train,web-test,dev]'
	@# CUDA builds of PyTorch bring the Triton that they were made for. With the others its kernels are interpreted and
	@# compiled by tests only, so it is no dependency of anything and not in constraints.txt.
	$(BIN)/python -c 'import triton' 2>/dev/null || \
		$(BIN)/python -m pip install --disable-pip-version-check --no-deps "triton==3.9.0; platform_system == 'Linux'"
	@touch $@

# What cannot be installed is skipped by the checks, with a word.
$(DEPLOY_TOOLS): deploy/check/requirements.txt
	python3 -m venv $(DEPLOY_VENV)
	@timeout 300 $(DEPLOY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
		-r deploy/check/requirements.txt && touch $@ || echo "The tools could not be installed" >&2

$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "== Creating $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
		fi; \
	done; echo "Python 3.11 or newer not found; name one with PYTHON=/path/to/python3.11" >&2; exit 1

$(STUBS): $(PROTOS) $(INSTALLED)
	$(BIN)/python setup.py -q stubs
	@touch $@
