# Two commands: `make demo` and `make test`. Both make the environment .venv of this checkout first.
#   TORCH   requirement of PyTorch. PyPI's default build brings several GB of CUDA on Linux; name a CPU wheel that your
#           index or disk offers to avoid that, e.g. `make demo TORCH=torch==2.13.0`, or
#           `make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"`.
#   PYTHON  interpreter that makes the environment.   VENV  its folder.   OUT  folder of the demo.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
OUT ?= demo
BIN := $(VENV)/bin

.PHONY: demo test test-all lint planted-esm clean

demo: $(VENV)/.demo
	$(BIN)/autointerp demo --out $(OUT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not full" tests

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e ".[all,dev]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build *.egg-info
