"""Names that no file should have, and are allowed all the same: a command ends well, or with one line."""
import io
import sys

import pytest

from worlds import World, make
from wvad_core.cli import command, process


def status(argv: list[str], capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        process.run(command.main, argv)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("words", [["test", "--dataset", "a\0b"], ["inspect", "x\0"], ["convert", "a", "b\0.pt"]])
def test_nul(words, capsys):
    code, said = status(words, capsys)
    assert code == 2 and said.startswith("error: ") and "has a NUL" in said and said.count("\n") == 1


def test_a_name_that_is_too_long(world: World, capsys):
    code, said = status(["convert", str(world.options["checkpoint"]), str(world.root / ("x" * 300) / "w.pt")], capsys)
    assert code == 2 and said.endswith("x/w.pt: File name too long\n") and said.count("\n") == 1


def test_unknown_words_with_line_breaks_are_shown_on_one_line(capsys):
    code, said = status(["demo", "a\nb\x1b[2J"], capsys)
    assert code == 2 and said.splitlines()[-1] == "wvad demo: error: unrecognized arguments: a\\nb\\x1b[2J"


def test_a_folder_whose_name_is_no_text(tmp_path, monkeypatch):
    """A terminal's stdout is strict; what it is told has the name escaped, as stderr has it."""
    (folder := tmp_path / "\udcff").mkdir()
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "utf-8", "strict"))
    with pytest.raises(SystemExit) as end:
        process.run(command.main, ["test", *make(folder).argv[:-2]])
    sys.stdout.flush()
    assert end.value.code == 0 and b"\\udcff" in shown.getvalue()


def test_a_value_that_is_nested_too_deeply(capsys):
    code, said = status(["train", "--backend", "numpy", "--method", "rtfm", "depth=" + "[" * 5000], capsys)
    assert code == 2 and said.startswith("error: ")
