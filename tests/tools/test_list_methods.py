"""The table of methods comes from the registry, and the README has it."""
import json
from pathlib import Path

import list_methods as tool
import pytest

import wvad_core as wv
from wvad_core.cli import methods
from wvad_core.registry import specification

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def table() -> str:
    return methods.table(tool.GOLDEN)


def test_the_readme_has_the_table(table):
    assert methods.MARKED.search(README.read_text(encoding="utf-8"))[0] == table + "\n"


def test_the_table_has_every_method_and_its_cases(table):
    lines = table.splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == [f"| `{method}`" for method in wv.list_methods()]
    of_models = {path.stem: json.loads(path.read_text(encoding="utf-8"))["method"] for path in tool.GOLDEN.glob("*.json")}
    cases = [case for case, of in of_models.items() if of not in (*wv.list_extractors(), "video-to-features")]
    assert cases and all(sum(f"`{case}`" in line for line in lines) == 1 for case in cases)


def test_write(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(methods, "row", lambda method, golden: [method] + ["x"] * len(methods.HEADER))
    file = tmp_path / "own.md"
    file.write_text("before\n<!-- methods -->\nold\n<!-- end of methods -->\nafter\n")
    tool.main(["--write", str(file)])
    printed = capsys.readouterr().out
    assert file.read_text() == f"before\n<!-- methods -->\n{printed}<!-- end of methods -->\nafter\n"
    assert all(f"| {method} | x" in printed for method in wv.list_methods())


@pytest.mark.parametrize("text", [None, "no marks\n"])
def test_a_file_without_the_marks(text, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "table", lambda golden: "")
    if text is not None:
        (tmp_path / "own.md").write_text(text)
    with pytest.raises(wv.InputError, match="own.md: (cannot be read|no lines <!-- methods -->)"):
        tool.main(["--write", str(tmp_path / "own.md")])


def test_without_options_a_few_lines_each(capsys):
    methods.main([])
    printed = capsys.readouterr().out
    assert [entry.split()[0] for entry in printed.split("\n\n")] == list(wv.list_methods())
    for entry, method in zip(printed.split("\n\n"), wv.list_methods()):
        paper, recipes = specification(method).PAPER, specification(method).RECIPES
        assert paper.title in entry and paper.link in entry and f"recipes: {', '.join(recipes)}" in entry
        assert all(f"{value:.2f}" in entry for found in paper.results.values() for value in found.values())
