"""Nothing at import needs what only POSIX systems have."""
import subprocess
import sys
from pathlib import Path

import pytest

import wvad_core as wv

ROOT = Path(__file__).parents[2]
POSIX = "crypt,fcntl,grp,nis,ossaudiodev,posix,pty,pwd,readline,resource,spwd,syslog,termios,tty"
"""The modules of the standard library that Windows lacks."""
CODE = """
import importlib, pkgutil, sys
framework, blocked, folder, *names = sys.argv[1:]
for name in filter(None, ("numpy", "scipy.special", "safetensors.numpy", "tqdm", framework)):  # they have ways of their own
    importlib.import_module(name)
sys.modules |= dict.fromkeys(blocked.split(","))
sys.path.insert(0, folder)
for name in names:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), name + "."):
        importlib.import_module(found.name)
"""


def imports(framework: str, folder: Path, *names: str) -> subprocess.CompletedProcess:
    """A process that imports modules and all that is in them, behind a framework's own, where POSIX's are not there."""
    return subprocess.run([sys.executable, "-c", CODE, framework, POSIX, folder, *names], capture_output=True, text=True)


def test_the_core_and_the_tools():
    tools = [path.stem for path in (ROOT / "tools").glob("*.py")]
    done = imports("", ROOT / "tools", "wvad_core", *tools)
    assert done.returncode == 0, done.stderr
    assert len(tools) == 4


def test_a_backend(framework):
    done = imports(framework, ROOT, f"wvad_{framework}")
    assert done.returncode == 0, done.stderr
    assert framework in wv.list_backends()


@pytest.mark.parametrize("name", ["fcntl", "resource"])
def test_an_import_of_theirs_would_be_seen(name, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "module.py").write_text(f"import {name}\n")
    done = imports("", tmp_path, "package")
    assert done.returncode == 1 and "package/module.py" in done.stderr and name in done.stderr.splitlines()[-1]
