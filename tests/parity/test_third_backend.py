"""A backend of another package passes `test_backend.py` by being named, and one that is wrong in a function does not."""
import inspect
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
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


def wrong(base: str, bodies: dict[str, str]) -> str:
    """Classes that are right in all but one function, by their functions' names, and their instances."""
    lines = []
    for function, body in bodies.items():
        name = f"wrong-{function.replace('_', '-')}"
        lines += [f"class Wrong({base}):\n    name = '{name}'\n    def {function}(PARAMETERS_{function}):\n        {body}",
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


def test_a_backend_of_another_package_passes_by_being_named(tmp_path):
    package(tmp_path, BACKENDS, {"another": "another"})
    (passed,) = results(tmp_path, ["another"]).values()
    assert len(passed) > 80 and all(passed)


@pytest.mark.needs("torch")
def test_one_that_trains_passes_too(tmp_path):
    package(tmp_path, BACKENDS + TRAINING, {"trains": "trains"})
    (passed,) = results(tmp_path, ["trains"], "-k", TWO_METHODS).values()
    assert len(passed) > 30 and all(passed)


@pytest.mark.parametrize("base, bodies", [
    ("Another", WRONG), pytest.param("Trains", WRONG_IN_TRAINING, marks=pytest.mark.needs("torch"))])
def test_one_that_is_wrong_in_a_function_does_not_pass(base, bodies, tmp_path):
    text = BACKENDS + (TRAINING if base == "Trains" else "") + wrong(base, bodies)
    instances = {f"wrong-{function.replace('_', '-')}": f"{base.lower()}_{function}" for function in bodies}
    package(tmp_path, text, instances)
    found = results(tmp_path, list(instances), "-k", TWO_METHODS)
    assert len(found) == len(bodies) and all(passed for passed in found.values())
    assert not [name for name, passed in found.items() if all(passed)]
