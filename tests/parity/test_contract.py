"""The two frameworks' packages have the same files, functions and classes with the same signatures; frameworks load only when
asked for. What a backend must offer is in `test_backend.py`."""
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wvad_core as wv
from cases import CONFIGS
from wvad_core.backend import find_backend
from wvad_core.registry import specification

FOLDERS = {name: Path(importlib.util.find_spec(f"wvad_{name}").origin).parent for name in ("torch", "mindspore")}
FILES = {name: {str(path.relative_to(folder).with_suffix("")).replace("/", ".") for path in folder.rglob("*.py")
                if path.stem != "__init__"} for name, folder in FOLDERS.items()}
OWN_FILES = {
    "torch": {"kernels", "precision"},                                    # oneDNN's, and bf16 on the processors that have it
    "mindspore": {"any_length", "caches", "requirements",                           # graphs for any length; what it keeps; numpy < 2
                  "blocks.head_axes", "blocks.parameters"},  # its own, see below
}
FAST = {"routes", "blocks.minimal_filtering"}  # which kernels are fast, and how: each its own
MODULES = sorted((FILES["torch"] & FILES["mindspore"]) - FAST)
OWN = {"forward", "construct"}  # one thing under the frameworks' two names
# Known differences, each with its reason. A difference that is gone must leave this table too.
ONLY = {
    ("blocks.random", "mindspore"): {"Random"},                                   # masks that differ each time
    ("blocks.convolution", "torch"): {"over_time"},                               # kernels by the processor
    ("blocks.attention", "mindspore"): {"SoftmaxAttention", "DecayAttention", "WindowedAttention"},  # cells, for graph mode
    ("blocks.attention", "torch"): {"softmax_attention", "decay_attention", "windowed_attention"},   # functions suffice
    ("isolation", "torch"): {"full_float32", "on_cpu_by_default"},                # what MindSpore has one of
    ("threads", "torch"): {"together"},                                          # which compute at the same time
    ("threads", "mindspore"): {"a_core_each", "workers"},                        # whose own threads wait busily
    ("blocks.losses", "mindspore"): {"log_sigmoid"},                              # it has none
    ("blocks.activations", "mindspore"): {"gelu"},                               # its own approximates
    ("parallel", "mindspore"): {"averaged"},                                     # the mean of the gradients itself
    ("parallel", "torch"): {"averaging", "gradients", "local_rank"},             # DistributedDataParallel makes it
    ("training", "torch"): {"optimiser"},                                        # PyTorch's own classes of them
    ("training", "mindspore"): {"losses_and_gradients"},                         # MindSpore differentiates functions
}

WITHOUT_RESULTS = {"adplg"}  # its paper's figures are not to be had


def public(package: str, module: str) -> dict[str, object]:
    """The public functions and classes that a module itself defines."""
    found = importlib.import_module(f"{package}.{module}")
    return {name: value for name, value in vars(found).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == found.__name__}


def signatures(value: object) -> dict[str, list[str]]:
    """Parameter names of a function, or of a class's constructor and public methods."""
    if inspect.isfunction(value):
        return {"": list(inspect.signature(value).parameters)}
    own = {name: method for name, method in vars(value).items() if inspect.isfunction(method)}
    return {"forward" if name in OWN else name: list(inspect.signature(method).parameters)
            for name, method in own.items() if not name.startswith("_") or name == "__init__"}


def test_frameworks_have_the_same_files():
    assert {name: files - (FILES["torch"] & FILES["mindspore"]) for name, files in FILES.items()} == OWN_FILES


@pytest.mark.needs("torch", "mindspore")
@pytest.mark.parametrize("module", MODULES)
def test_frameworks_offer_the_same(module):
    torch, mindspore = public("wvad_torch", module), public("wvad_mindspore", module)
    assert set(torch) - set(mindspore) == ONLY.get((module, "torch"), set())
    assert set(mindspore) - set(torch) == ONLY.get((module, "mindspore"), set())
    for name in set(torch) & set(mindspore):
        ours, theirs = signatures(torch[name]), signatures(mindspore[name])
        shared = set(ours) & set(theirs)
        assert {n: ours[n] for n in shared} == {n: theirs[n] for n in shared}, name


def test_every_method_is_in_the_table_of_parity():
    assert set(CONFIGS) == set(wv.list_methods())


@pytest.mark.parametrize("method", wv.list_methods())
def test_every_method_has_what_the_registry_says(method):
    spec = specification(method)
    for name, first in (("forward", "features"), ("losses", "batch")):
        assert list(inspect.signature(getattr(spec, name)).parameters) == [first, "p", "config"]
    for name in ("parameters", "published"):
        assert list(inspect.signature(getattr(spec, name)).parameters) == ["config"]
    assert spec.RECIPES["demo"] and isinstance(spec.DEMO, spec.Config) and spec.module.__doc__
    assert bool(spec.PAPER.results) == (method not in WITHOUT_RESULTS)
    assert 2018 <= spec.PAPER.year <= 2026 and spec.PAPER.link.startswith("https://")


@pytest.mark.parametrize("method", wv.list_methods())
def test_canonical_names_are_the_attribute_paths(method, framework):
    made = wv.create(method, backend=framework, **CONFIGS[method][0])
    for name, value in made.weights().items():
        found = made.network
        for part in name.split("."):
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        assert tuple(found.shape) == value.shape


@pytest.mark.parametrize("statement", ["import wvad_core", "import wvad_core; wvad_core.create('bn-wvad', feature_dim=8)",
                                       "import wvad_core; wvad_core.list_methods(), wvad_core.list_backends()",
                                       "import wvad_core.backend; wvad_core.backend.export_formats()"])
def test_the_core_loads_no_framework(statement):
    check = "; import sys; loaded = {'torch', 'mindspore'} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", statement + check], check=True)


@pytest.mark.needs("mindspore")
@pytest.mark.parametrize("version", ("1.26.4", "2.0.0", "2.4.6", "10.0"))
def test_mindspore_starts_with_numpy_1_alone(monkeypatch, version):
    """With numpy 2 networks are built, and the first operation of any of them raises SystemError."""
    find_backend("mindspore")
    for name in [name for name in sys.modules if name.partition(".")[0] == "wvad_mindspore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("numpy.__version__", version)
    if version.startswith("1."):
        assert find_backend("mindspore").versions()
        return
    with pytest.raises(wv.InputError) as error:
        find_backend("mindspore")
    assert re.fullmatch(rf"backend mindspore cannot start \(.*numpy below 2, found numpy {version}\); install .*: "
                        r'pip install .*"numpy<2"', str(error.value))
