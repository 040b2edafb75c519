"""What all tools share: exit statuses, --help, and what they import."""
import subprocess
import sys
from pathlib import Path

import pytest

import command_line
from wvad_core.errors import InputError

TOOLS = sorted(Path(command_line.__file__).parent.glob("*.py"))
HEAVY = "{'torch', 'mindspore', 'matplotlib', 'scipy'}"
CHECK = f"import sys; loaded = {HEAVY} & set(sys.modules); assert not loaded, loaded"
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
"""


def raising(error):
    def main(argv):
        raise error
    return main


@pytest.mark.parametrize("error, status, message", [
    (InputError("a.npy: bad\n  one\n  two"), 2, "error: a.npy: bad\n  one\n  two\n"), (KeyboardInterrupt(), 130, "")])
def test_errors_of_the_person_at_the_keyboard(capsys, error, status, message):
    with pytest.raises(SystemExit) as end:
        command_line.run(raising(error), [])
    assert end.value.code == status
    assert capsys.readouterr() == ("", message)


def test_other_exceptions_go_through():
    with pytest.raises(ValueError, match="a defect"):
        command_line.run(raising(ValueError("a defect")), [])


def test_main_gets_the_words_behind_the_name(monkeypatch):
    got = []
    monkeypatch.setattr(sys, "argv", ["tool", "--a", "b"])
    for argv in (None, ["c"]):
        with pytest.raises(SystemExit) as end:
            command_line.run(got.append, argv)
        assert end.value.code == 0
    assert got == [["--a", "b"], ["c"]]


def test_a_pipe_that_nobody_reads():
    code = "import command_line; command_line.run(lambda argv: print('x' * 100_000))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               cwd=TOOLS[0].parent)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_check_writable(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "new", tmp_path / "new" / "deeper", Path("new")):
        command_line.check_writable(folder)
    for folder in (tmp_path / "file", tmp_path / "file" / "x" / "y"):
        with pytest.raises(InputError, match="cannot be written"):
            command_line.check_writable(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_library_loads_nothing_heavy():
    subprocess.run([sys.executable, "-c", f"import wvad_core; {CHECK}"], check=True)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.name != "command_line.py"], ids=lambda tool: tool.stem)
def test_help_says_something_and_loads_nothing_heavy(tool):
    done = subprocess.run([sys.executable, "-c", HELP + CHECK, tool], check=True, capture_output=True, text=True)
    assert "usage:" in done.stdout and f"  python tools/{tool.name}" in done.stdout
    assert not done.stderr
