"""A backend of another package passes `test_backend.py` by being named, and one that is wrong in a function does not."""
import inspect
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest

from cases import CONFIGS
from economy import OUTSIDE
from wvad_core.backend import Backend

SUITE, CONFIGURATION = Path(__file__).with_name("test_backend.py"), Path(__file__).parents[2] / "setup.cfg"
BACKENDS = """
import dataclasses
import numpy as np
from wvad_core.numpy_backend import NumpyBackend

class Another(NumpyBackend):
    name = "another"

another = Another()
"""
WRONG = {
    "versions": "return {}",
    "build": "return super().build(name, config, weights, device, precision, 0)",
    "device": "return 'abacus'",
    "weights": "return network.weights",
    "random_state": "return np.random.default_rng(0)",
    "set_random_state": "pass",
    "score": "return np.median(network(features), axis=0)",
    "losses": "return {n: float(v) for n, v in network.losses(batch, deterministic).items()}",
    "gradients": "return {}",
    "join": "return 0, 1",
    "processes": "return 1, 2",
    "gather": "return [array.astype(np.float64)]",
    "export": "pass",
}
"""A body for each function of a backend that computes with the specification."""
TRAINING = """
from wvad_core.backend import Backend
from wvad_torch.backend import NativeBackend

class Trains(NativeBackend):
    name, export = "trains", Backend.export

trains = Trains()
"""
WRONG_IN_TRAINING = {
    "gradients": "return {n: np.float32(1.01) * g for n, g in super().gradients(network, batch, deterministic).items()}",
    "training_session": "return super().training_session(network, dataclasses.replace(recipe, weight_decay=0.0), options)",
    "losses": "return super().losses(network, batch)",
}
TWO_METHODS = " and ".join(f"not {method}" for method in CONFIGS if method not in ("saa", "rtfm"))


def named(function: str, more: str = "") -> str:
    """The name of the backend that is wrong in a function."""
    return f"wrong-{more}{function.replace('_', '-')}"


def wrong(base: str, bodies: dict[str, str], more: str = "") -> str:
    """Classes that are right in all but one function, by their functions' names, and their instances."""
    lines = []
    for function, body in bodies.items():
        lines += [f"class Wrong({base}):\n    name = '{named(function, more)}'\n    def {function}(PARAMETERS_{function}):\n        {body}",
                  f"{base.lower()}_{function} = Wrong()"]
    return "\n".join(lines)


def signature(function: str) -> str:
    return ", ".join(str(p).partition(":")[0] + ("" if p.default is p.empty else f"={p.default!r}")
                     for p in inspect.signature(getattr(Backend, function)).parameters.values())


def package(folder: Path, text: str, instances: dict[str, str]) -> None:
    """An installed package with a module of backends. instances: {name of the backend: name of the instance}."""
    for function in {*WRONG, *WRONG_IN_TRAINING}:
        text = text.replace(f"PARAMETERS_{function}", signature(function))
    (folder / "other_backends.py").write_text(text)
    information = folder / "other_backends-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other-backends\nVersion: 1.0\n")
    lines = [f"{name} = other_backends:{instance}" for name, instance in instances.items()]
    (information / "entry_points.txt").write_text("\n".join(["[wvad.backends]", *lines, ""]))


def results(folder: Path, names: list[str], *more: str) -> dict[str, list[bool]]:
    """{backend: whether each test of the suite passed}, of a run in which they are named."""
    environment = OUTSIDE | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", "-c", CONFIGURATION, "--rootdir", CONFIGURATION.parent, "-p", "no:xdist", "-q",
               "--backends", ",".join(names), f"--junitxml={folder / 'results.xml'}", SUITE, *more]
    run = subprocess.run(list(map(str, command)), env=environment, cwd=folder, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found: dict[str, list[bool]] = {name: [] for name in names}
    for case in ElementTree.parse(folder / "results.xml").iter("testcase"):
        tags = case.attrib["name"].partition("[")[2].rstrip("]")
        owner = max((name for name in names if name in tags), key=len)
        found[owner].append(not [child for child in case if child.tag in ("failure", "error")])
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, list[bool]]:
    """What the suite finds of all of them, with two methods: `test_backend.py` itself runs all of them on the backends here."""
    text, instances = BACKENDS + wrong("Another", WRONG), {"another": "another"}
    instances |= {named(function): f"another_{function}" for function in WRONG}
    if find_spec("torch"):
        text += TRAINING + wrong("Trains", WRONG_IN_TRAINING, "in-training-")
        instances |= {"trains": "trains"} | {named(function, "in-training-"): f"trains_{function}" for function in WRONG_IN_TRAINING}
    folder = tmp_path_factory.mktemp("backends")
    package(folder, text, instances)
    return results(folder, list(instances), "-k", TWO_METHODS)


@pytest.mark.parametrize("name", ["another", pytest.param("trains", marks=pytest.mark.needs("torch"))])
def test_a_backend_of_another_package_passes_by_being_named(found, name):
    assert len(found[name]) > 30 and all(found[name])


@pytest.mark.parametrize("function, more", [(function, "") for function in WRONG] + [
    pytest.param(function, "in-training-", marks=pytest.mark.needs("torch")) for function in WRONG_IN_TRAINING])
def test_one_that_is_wrong_in_a_function_does_not_pass(found, function, more):
    assert found[named(function, more)] and not all(found[named(function, more)])
