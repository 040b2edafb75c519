# make demo    core only: scores the bundled demo set on NumPy
# make test    both frameworks: runs all tests, then on the wheel with NumPy 2 what needs no MindSpore
#              test-cuda, test-ascend: on that device, those of networks and training
# make types   the public modules' annotations, by pyright
# make bench   speed and memory against the published way
PYTHON ?= python3
BIN = .venv/bin
QUIET = --quiet --disable-pip-version-check
PIP = $(BIN)/python -m pip install $(QUIET) --no-compile --constraint constraints.txt
# a second environment, with the wheel, PyTorch and this NumPy; MindSpore needs NumPy 1
NUMPY2 = .venv/numpy2
PIP2 = $(NUMPY2)/bin/python -m pip install $(QUIET) --no-compile --constraint $(NUMPY2)/constraints.txt
VERSION2 = numpy==2.4.6
PARITY2 = inputs detector
define REQUIREMENTS
import configparser, sys
setup = configparser.ConfigParser()
setup.read("setup.cfg")
print(setup["options"]["install_requires"], *map(setup["options.extras_require"].get, sys.argv[1:]))
endef
export REQUIREMENTS
# so that no process keeps the memory of too many of MindSpore's networks
LARGE = $(addprefix tests/published/test_,extractors.py clip_vit.py i3d_inception.py i3d_resnet50.py)
APART = $(addprefix tests/parity/test_,backend.py third_backend.py detector.py outputs_beside_scores.py)
# of the core, what MindSpore has a part in; all of it runs on NumPy 2
CORE1 = $(addprefix tests/core/test_,any_system.py registry.py)

# both environments at the same time
MAKEFLAGS += --jobs=2
# what is imported is compiled once, and not in every process
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-cuda test-ascend wheel types bench clean

demo: .venv/core
	$(BIN)/python tools/test_10crop.py

test: .venv/all wheel
	$(BIN)/python -m pytest --numprocesses auto $(filter-out $(LARGE),$(wildcard tests/published/test_*.py))
	$(BIN)/python -m pytest --numprocesses auto $(filter-out $(APART),$(wildcard tests/parity/test_*.py))
	$(BIN)/python -m pytest --numprocesses auto tests/tools tests/reliability $(LARGE) $(APART) $(CORE1) tests/video/test_whole_path.py
	cd $(NUMPY2) && bin/pytest --config-file $(CURDIR)/setup.cfg --rootdir $(CURDIR) --numprocesses auto \
		--backends numpy,torch $(addprefix $(CURDIR)/tests/,core video page $(PARITY2:%=parity/test_%.py))

test-cuda test-ascend: test-%: .venv/all
	$(BIN)/python -m pytest --device $* tests/published tests/parity

types: .venv/all
	$(PIP) "pyright[nodejs]==1.1.414"
	$(BIN)/pyright

bench: .venv/all
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/metrics.py

.venv/core: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/all: .venv/core
	$(PIP) --editable ".[torch,mindspore,test]"
	$(PIP) --no-deps open_clip_torch  # for one file of it, which takes nothing of what it requires
	touch $@

wheel: .venv/all $(NUMPY2)/all  # the wheel of the sources as they are, in that environment
	rm -rf build $(NUMPY2)/dist
	$(BIN)/python -m build --wheel --no-isolation --outdir $(NUMPY2)/dist . >$(NUMPY2)/build.log
	rm -rf build wvad.egg-info  # entry points in the latter would come before those installed
	$(PIP2) --no-deps --force-reinstall $(NUMPY2)/dist/*.whl

$(NUMPY2)/all: .venv/core  # what the wheel requires: pip would build in the folder where it builds for .venv/all
	$(PYTHON) -m venv $(NUMPY2)
	sed 's/^numpy==.*/$(VERSION2)/; /^mindspore==/d' constraints.txt >$(NUMPY2)/constraints.txt
	$(PYTHON) -c "$$REQUIREMENTS" torch test >$(NUMPY2)/requirements.txt
	$(PIP2) --requirement $(NUMPY2)/requirements.txt
	$(PIP2) --no-deps open_clip_torch
	touch $@

clean:
	rm -rf .venv
