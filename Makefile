# make demo    core only: scores the bundled demo set on NumPy
# make test    both frameworks: runs all tests; test-cuda, test-ascend: on that device, those of networks and training
# make bench   speed and memory against the published way
PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-cuda test-ascend bench clean

demo: .venv/core
	$(BIN)/python tools/test_10crop.py

test: .venv/all
	$(BIN)/python -m pytest --numprocesses auto tests/published  # apart, since MindSpore keeps the memory it has had
	$(BIN)/python -m pytest --numprocesses auto tests/parity
	$(BIN)/python -m pytest --numprocesses auto tests/core tests/tools

test-cuda test-ascend: test-%: .venv/all
	$(BIN)/python -m pytest --device $* tests/published tests/parity

bench: .venv/all
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/metrics.py

.venv/core: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/all: .venv/core
	$(PIP) --editable ".[torch,mindspore,test]"
	touch $@

clean:
	rm -rf .venv
