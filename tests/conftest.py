"""The backends and the device that a test run asks for: `pytest --backends numpy,torch --device cuda`.

By default these are all of them, and the CPU. A backend or device that is asked for and cannot start ends the run with an
error; nothing is skipped in its place.
"""
from __future__ import annotations

import sys

import economy
import pytest

economy.take_one_core()  # before what is imported next

import devices  # noqa: E402
import tagger  # noqa: E402

import wvad_core as wv  # noqa: E402
from wvad_core import registry  # noqa: E402
from wvad_core.backend import find_backend  # noqa: E402


@pytest.fixture
def tagger_installed(tmp_path_factory, monkeypatch) -> None:
    """A package that brings the method of tagger.py, as pip installs it, on the path."""
    site = tmp_path_factory.mktemp("site")
    tagger.install(site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry, "METHODS", registry.Models("methods", registry.MethodSpecification))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backends", default=",".join(wv.list_backends()), help="backends to test, separated by commas")
    parser.addoption("--device", default="cpu", help="cuda[:INDEX] or ascend[:INDEX]: where the "
                     "framework that has it computes, the others on the CPU")
    parser.addoption("--slow", action="store_true", help="also what takes minutes")


def asked(config: pytest.Config) -> list[str]:
    return config.getoption("--backends").split(",")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*backends): a test for runs that ask for all of these backends")
    config.addinivalue_line("markers", "slow: a test for `--slow`: much of what it shows, another one shows sooner")
    config.addinivalue_line("markers", "on_the_cpu: a test of what exists on the CPU alone")
    config.addinivalue_line("markers", "on_a_device: a test of what exists on other devices alone")
    config.pluginmanager.register(economy.Economy())
    if config.getoption("numprocesses", None) and not economy.WORKER:  # its workers start the backends, meanwhile
        config.wvad_versions = {name: {} for name in asked(config)}
        return
    try:
        config.wvad_versions = {name: find_backend(name).versions() for name in asked(config)}
    except wv.InputError as error:
        raise pytest.UsageError(f"--backends: {error}") from error
    try:
        devices.choose(config.getoption("--device"), asked(config))
    except wv.InputError as error:
        raise pytest.UsageError(f"--device: {error}") from error
    if "mindspore" in sys.modules:  # its threads wait busily otherwise, in tests that build no network too
        sys.modules["mindspore"].runtime.launch_blocking()


def pytest_report_header(config: pytest.Config) -> str:
    versions = [f"{name} ({', '.join(f'{p} {v}' for p, v in found.items())})" if found else name
                for name, found in config.wvad_versions.items()]
    return f"wvad in {wv.__path__[0]}; backends: {', '.join(versions)}; device: {config.getoption('--device')}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`backend` runs a test on every backend; `framework` on those other than the NumPy specification."""
    names = asked(metafunc.config)
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", names)
    if "framework" in metafunc.fixturenames:
        metafunc.parametrize("framework", [name for name in names if name != "numpy"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a backend that was not asked for, on a device what is the CPU's, and what is slow."""
    others = ["on_a_device" if devices.kind() == "cpu" else "on_the_cpu", *([] if config.getoption("--slow") else ["slow"])]
    missing = [item for item in items if any(set(m.args) - set(asked(config)) for m in item.iter_markers("needs"))
               or any(map(item.get_closest_marker, others))]
    config.hook.pytest_deselected(items=missing)
    items[:] = [item for item in items if item not in missing]
