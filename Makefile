# make reproduce | test | lab: each makes the environment in .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt
# TORCH=cpu leaves out CUDA, most of 7 GB; TORCH=cu126 is for older cards and drivers; others as uv's --torch-backend.
TORCH ?=
# Threads that wait sleep instead of spinning; see bisenet/__init__.py.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help reproduce test test-gpu lab notebooks format
help:
	@echo "make reproduce  regenerate Table 2 on the embedded scenes, under results/reproduced/"
	@echo "make test       style, types, tests, and every notebook against its stored outputs"
	@echo "make test-gpu   on a GPU: the numbers of the CPU, calls from threads"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make notebooks  renew the notebooks' stored outputs and what is made of them in results/"
	@echo "make format     rewrite the sources in the project's style"

$(BIN)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "this is Python %d.%d, 3.11 to 3.13 is needed: make PYTHON=python3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(INSTALL) $(if $(TORCH),--torch-backend $(TORCH)) -e '.[all]'
	$(INSTALL) -e '.[fast]' 2> /dev/null || echo "pywuffs was not built (it needs a C++ compiler): PNG files are read by Pillow, in twice the time"
	touch $@

reproduce: $(BIN)/ready
	$(BIN)/python -m bisenet reproduce --only quickstart table_1 table_2

# Two at a time, since most tests use one core; those of a file share what they prepare, so they stay in one process.
test: $(BIN)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	CUDA_VISIBLE_DEVICES= $(BIN)/python -m pytest -q -n 2 --dist loadfile
	CUDA_VISIBLE_DEVICES= $(BIN)/python -m pytest -q -n 2 --dist loadscope --nbval --nbval-current-env --nbval-cell-timeout 300 notebooks

test-gpu: $(BIN)/ready
	$(BIN)/python -c 'import torch, sys; sys.exit(not torch.cuda.is_available() and "PyTorch finds no GPU here")'
	$(BIN)/python -m pytest -q tests/test_gpu.py

lab: $(BIN)/ready
	$(BIN)/jupyter lab notebooks

notebooks: $(BIN)/ready
	$(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace notebooks/*.ipynb
	$(BIN)/python -m bisenet report

format: $(BIN)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
