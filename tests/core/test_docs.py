"""The documentation leads somewhere, and its page of the public names is that of the docstrings."""
import importlib.util
import re
from pathlib import Path

import pytest

import wvad_core as wv
from wvad_core.registry import specification

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]


def script(name: str = "make_api"):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https://") or (page.parent / target).is_file(), target


@pytest.mark.parametrize("name", ["make_api", "make_methods"])
def test_a_page_that_is_made_is_up_to_date(name):
    found = script(name)
    assert found.PAGE.read_text(encoding="utf-8") == found.page(), f"run: python docs/{name}.py"


@pytest.mark.parametrize("method", wv.list_methods())
def test_a_specification_says_what_a_method_computes_and_where_paper_and_code_differ(method):
    formula, choice = script("make_methods").parts(specification(method))
    assert len(formula) > 300 and len(choice) > 60, f"{method}: its docstring; its last part begins with 'Paper and code: '"


def test_every_public_name_is_on_its_page_and_described():
    page = script().page()
    for name in wv.__all__:
        assert re.search(rf"^##+ wv\.{name}$", page, re.MULTILINE) and getattr(wv, name).__doc__, name


def test_lines_that_describe_arguments_become_a_list():
    def function(first, second, third=1):
        """Does something: with three.

        first, second: two of them.
        other: not an argument. third: in the same line.
        third: the last.
        """

    text = script().text(function).splitlines()
    assert text[0] == "Does something: with three." and text[2:] == [
        "- `first`, `second`: two of them.", "other: not an argument. third: in the same line.", "- `third`: the last."]
    assert script().signature("f", function).strip() == "f(first, second, third=1)".replace("=", " = ")
