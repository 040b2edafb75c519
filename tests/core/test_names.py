"""A method is its three files: nothing else knows it by name, but other models that cite it."""
import re
from pathlib import Path

import pytest

import wvad_core as wv
from wvad_core.registry import module_name

ROOT = Path(__file__).parents[2]
FOLDERS = ("wvad_core", "backends", "tools")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def mentions(method: str, text: str) -> bool:
    word = re.escape(module_name(method)).replace("_", "[_-]?")
    return re.search(rf"(?<![a-z]){word}(?![a-z])", text, re.IGNORECASE) is not None


@pytest.mark.parametrize("method", wv.list_methods())
def test_no_method_is_named_outside_its_files(method):
    homes = ("wvad_core", "backends/torch", "backends/mindspore")
    own = {ROOT / home / "methods" / f"{module_name(method)}.py" for home in homes}
    assert own <= set(SOURCES) and all(mentions(method, path.read_text(encoding="utf-8")) for path in own)
    others = {path for path in SOURCES if path not in own and path.parent.name not in ("methods", "extractors")}
    assert not [str(path) for path in others if mentions(method, path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("method", wv.list_methods())
def test_no_method_builds_on_another(method):
    """Methods may cite one another; what two of them share has a place of its own."""
    for path in (path for path in SOURCES if path.parent.name == "methods" and path.stem != module_name(method)):
        assert not re.search(rf"^\s*(from|import) .*\b{module_name(method)}\b", path.read_text(encoding="utf-8"), re.M), path


def test_the_search_finds_what_it_should():
    assert mentions("ur-dmu", "as UR-DMU does") and mentions("ur-dmu", "x = ur_dmu.Config") and mentions("bn-wvad", '"bn-wvad"')
    assert not mentions("saa", "saaz") and not mentions("bn-wvad", "wvad")
