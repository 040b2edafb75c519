"""A wheel holds exactly the three packages and their data."""
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"wvad_core": "wvad_core", "wvad_torch": "backends/torch", "wvad_mindspore": "backends/mindspore"}
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "wvad_core", "backends", "tools", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names of the files in a wheel built from a copy of the sources."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist", copy],
                   check=True, capture_output=True)
    with zipfile.ZipFile(next((copy / "dist").glob("*.whl"))) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


def test_the_wheel_holds_the_packages_and_their_data(wheel):
    expected = set()
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".py", ".csv", ".safetensors"):
                expected.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    assert set(wheel) == expected


def test_every_package_has_its_data(wheel):
    assert {"wvad_core/data/tables/ucf_crime.csv", "wvad_core/data/tables/xd_violence.csv",
            "wvad_core/data/tables/shanghaitech.csv", "wvad_core/data/tables/demo.csv"} <= set(wheel)
