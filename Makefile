# Two commands matter: `make quickstart` builds everything and trains the tiny assistant; `make test` runs the whole test suite.
# Everything is fetched from the package registries only, and finished work is not done again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
TARGET := $(or $(CARGO_TARGET_DIR),target)
CUPOLA := $(TARGET)/release/cupola
PYTHON_TOOLS := .venv/.stamp
MLFLOW := .venv-mlflow/.stamp
CLIENTS := .venv-clients/.stamp
LLAMA := .llama/build/bin/llama-server
NPM_TOOLS := tests/npm/node_modules/.stamp

.PHONY: help quickstart build libtorch test lint bench bench-data bench-serving parity handover gguf clients pages clean

help: ## This list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

quickstart: build ## Builds in release and runs specs/quickstart.yaml to the report card.
	$(CUPOLA) apply specs/quickstart.yaml

build: libtorch ## Builds every binary in release.
	cargo build --release --locked --workspace --bins

libtorch: ## Checks the tools and fetches libtorch into .libtorch.
	@deploy/check-tools.sh
	@deploy/fetch-libtorch.sh

test: build $(PYTHON_TOOLS) $(MLFLOW) ## Sets everything up and runs the whole test suite.
	cargo test --release --locked --workspace --no-fail-fast

$(PYTHON_TOOLS): tests/python/requirements.lock
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# Its server wants older versions of what the other tools use.
$(MLFLOW): tests/python/mlflow.lock
	python3 -m venv .venv-mlflow
	.venv-mlflow/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# They want newer versions of what the other tools use.
$(CLIENTS): tests/python/clients.lock
	python3 -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

$(NPM_TOOLS): tests/npm/package-lock.json
	npm ci --prefix tests/npm --no-audit --no-fund --silent
	touch $@

lint: libtorch ## Formatting, clippy and the shell scripts' syntax.
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	bash -n deploy/*.sh runtime/benches/*.sh runtime/benches/peers/*.sh .ci/run

bench: build ## Benchmarks: large specs and plans, what a step costs, training step, decoding, curation (CUPOLA_SHARED names its data).
	cargo bench --locked -p cupola-specs --bench load
	cargo bench --locked -p cupola --bench plan
	cargo bench --locked -p cupola --bench steps
	cargo bench --locked -p cupola --bench control
	cargo bench --locked -p cupola --bench histories
	cargo bench --locked -p cupola-runtime
	cargo bench --locked -p cupola-curation --bench minhash -- recall 20000
	cargo bench --locked -p cupola-curation --bench decontaminate
	cargo bench --locked -p cupola-tests --bench curation

bench-data: build ## A row of runtime/benches/peers/BENCHMARKS.md, ROW=warc, beside its peers, which it installs; needs CUPOLA_SHARED and a machine that does nothing else.
	runtime/benches/peers/row.sh $(or $(ROW),help)

# Without AMX: with it, this version ends with an illegal instruction or a segmentation fault in its products of q8_0 and q4_0.
$(LLAMA):
	python3 -m venv .llama/tools
	.llama/tools/bin/python -m pip install --quiet --disable-pip-version-check cmake ninja
	cd .llama && tools/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: llama-cpp-python==0.3.36
	cd .llama && tar xf llama_cpp_python-0.3.36.tar.gz
	NO_AMX="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" && PATH="$$PWD/.llama/tools/bin:$$PATH" \
	cmake -S .llama/llama_cpp_python-0.3.36/vendor/llama.cpp -B .llama/build -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_UI=OFF -DCMAKE_C_FLAGS="$$NO_AMX" -DCMAKE_CXX_FLAGS="$$NO_AMX"
	.llama/tools/bin/ninja -C .llama/build llama-server llama-quantize

bench-serving: build $(LLAMA) ## Our server beside llama.cpp's over HTTP, on a machine that does nothing else; VLLM=FILE and PYTHON=FILE add vLLM and transformers (compiles llama.cpp, some 20 minutes).
	cargo bench --locked -p cupola-serving --bench peers -- --llama-server $(abspath $(LLAMA)) --llama-quantize $(abspath $(dir $(LLAMA))llama-quantize) $(if $(VLLM),--vllm $(abspath $(VLLM))) $(if $(PYTHON),--python $(abspath $(PYTHON)))

parity: build $(PYTHON_TOOLS) ## Compares models of every family, the server's greedy answers, and an exported model, with transformers (fetches PyTorch with its CUDA libraries, about 3 GB).
	.venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.11.0 peft==0.21.2
	.venv/bin/python tests/python/model_round_trip.py $(TARGET)/release/cupola-worker
	.venv/bin/python tests/python/lora_round_trip.py $(CUPOLA)
	.venv/bin/python tests/python/serving_parity.py $(TARGET)/release/cupola-serve
	.venv/bin/python tests/python/transformers_parity.py $(CUPOLA) $(MODEL)

handover: build $(PYTHON_TOOLS) ## Reads the quickstart's pretraining, exported for Megatron-LM and torchtitan, with their own code (fetches PyTorch).
	.venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.11.0 megatron-core==0.16.1 torchtitan==0.2.2
	.venv/bin/python tests/python/handover.py $(CUPOLA) specs/quickstart.yaml base

gguf: build $(PYTHON_TOOLS) ## Reads the GGUF files that we write with llama.cpp itself (fetches PyTorch, compiles llama.cpp, some 20 minutes).
	.venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.11.0
	NO_AMX="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" && CMAKE_ARGS="-DCMAKE_C_FLAGS='$$NO_AMX' -DCMAKE_CXX_FLAGS='$$NO_AMX'" .venv/bin/python -m pip install --quiet --disable-pip-version-check llama-cpp-python==0.3.36
	.venv/bin/python tests/python/gguf_parity.py $(TARGET)/release/cupola-worker runtime/tests/fixtures/tokenizer

clients: build $(CLIENTS) $(NPM_TOOLS) ## Runs published clients of OpenAI's API, unmodified, against a served model.
	.venv-clients/bin/python tests/python/clients.py $(TARGET)/release/cupola-serve

pages: build $(PYTHON_TOOLS) $(NPM_TOOLS) ## Drives the chat and the compare page in Chromium: what they do, by keys alone, and for everybody (axe-core).
	node tests/npm/pages.mjs $(TARGET)/release/cupola-serve .venv/bin/python $(if $(PICTURES),--pictures $(PICTURES))

clean: ## Removes the build, the fetched libtorch and the Python tools; never the state in .cupola.
	cargo clean
	rm -rf .libtorch .venv .venv-mlflow .venv-clients .venv-peers tests/npm/node_modules
