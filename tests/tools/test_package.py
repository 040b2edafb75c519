"""A wheel holds exactly the three packages and their data, and says what a package index wants to know."""
import re
import zipfile
from email.message import Message
from email.parser import BytesParser
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = {"wvad_core": "wvad_core", "wvad_torch": "backends/torch", "wvad_mindspore": "backends/mindspore"}
FILES = (".py", ".csv", ".safetensors", ".typed", ".html", ".css", ".js", ".json", ".npy")
LARGE = ("ray", "text")
"""Extras that are not in [all]: much comes with them."""


@pytest.fixture(scope="module")
def files(wheel) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return BytesParser().parsebytes(archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA"))))


def extras(metadata: Message) -> dict[str, set[str]]:
    """{extra: its requirements without the marker}."""
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    return {extra: {f"{r.name}{r.specifier}" for r in required if r.marker and r.marker.evaluate({"extra": extra})}
            for extra in metadata.get_all("Provides-Extra")}


def test_the_wheel_holds_the_packages_and_their_data(files):
    expected = set()
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in FILES:
                expected.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    assert set(files) == expected


def test_every_package_has_its_data(files):
    assert {"wvad_core/data/tables/ucf_crime.csv", "wvad_core/data/tables/xd_violence.csv",
            "wvad_core/data/tables/shanghaitech.csv", "wvad_core/data/tables/demo.csv"} <= set(files)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(files), "type checkers read the annotations"


def test_the_description_keeps_the_readmes_text_and_no_link_to_a_file(metadata):
    readme, description = (ROOT / "README.md").read_text(encoding="utf-8"), metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert targets and all(re.match("https?://", target) for target in targets)
    assert set(targets) == {target for target in re.findall(r"\]\(([^)]*)\)", readme) if "://" in target}
    assert re.search(r"\[docs/training.md\]\(docs/training.md\)", readme) and "docs/training.md" in description
    lines = {line for line in readme.splitlines() if "](" not in line}
    assert lines <= set(description.splitlines())


def test_what_an_index_shows(metadata):
    assert metadata["Author"] == "wvad authors" and metadata["License"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10" and "mindspore" in metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_all_and_dev_hold_the_other_extras(metadata):
    found = extras(metadata)
    assert found["all"] == set().union(*(found[name] for name in found if name not in ("all", "dev", "test", *LARGE)))
    assert found["dev"] >= found["all"] | found["test"]


@pytest.mark.needs("torch", "mindspore")
def test_no_extras_contradict_each_other(metadata):
    """One environment, this one, has what all of them require."""
    for extra, required in extras(metadata).items():
        for requirement in map(Requirement, required):
            if requirement.name not in ("pyright", "ray"):  # which the tests do without
                assert requirement.specifier.contains(version(requirement.name)), (extra, requirement)
