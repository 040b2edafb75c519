"""The command `wvad`, and what all its subcommands share: exit statuses, --help, logs, and what they import."""
import logging
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from wvad_core.cli import command, options, process
from wvad_core.errors import InputError

TOOLS = sorted((Path(__file__).parents[2] / "tools").glob("*.py"))
HEAVY = "{'torch', 'mindspore', 'matplotlib', 'scipy'}"
CHECK = f"import sys; loaded = {HEAVY} & set(sys.modules); assert not loaded, loaded"
CALLED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    if sys.argv[0] == "wvad":
        from wvad_core.cli.command import program
        program()
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
"""
LINES, COLUMNS = 40, 100
"""What a screen of --help has at most."""


def raising(error):
    def main(argv):
        raise error
    return main


def status(main, *argv):
    with pytest.raises(SystemExit) as end:
        process.run(main, argv)
    return end.value.code


@pytest.mark.parametrize("error, code, message", [
    (InputError("a.npy: bad\n  one\n  two"), 2, "error: a.npy: bad\n  one\n  two\n"), (KeyboardInterrupt(), 130, "")])
def test_errors_of_the_person_at_the_keyboard(capsys, error, code, message):
    assert status(raising(error)) == code
    assert capsys.readouterr() == ("", message)


def test_other_exceptions_go_through():
    with pytest.raises(ValueError, match="a defect"):
        process.run(raising(ValueError("a defect")), [])


def test_main_gets_the_words_behind_the_name(monkeypatch):
    got = []
    monkeypatch.setattr(sys, "argv", ["tool", "--a", "b"])
    for argv in (None, ["c"]):
        with pytest.raises(SystemExit) as end:
            process.run(got.append, argv)
        assert end.value.code == 0
    assert got == [["--a", "b"], ["c"]]


def test_the_environment_of_a_process(monkeypatch):
    monkeypatch.setenv("WVAD_GIVEN", "mine")
    monkeypatch.delenv("WVAD_OTHER", raising=False)
    seen = []
    with pytest.raises(SystemExit):
        process.start(lambda argv: seen.append([process.os.environ[name] for name in ("WVAD_GIVEN", "WVAD_OTHER")]),
                      {"WVAD_GIVEN": "1", "WVAD_OTHER": "2"})
    monkeypatch.delenv("WVAD_OTHER")
    assert seen == [["mine", "2"]]


def test_a_pipe_that_nobody_reads():
    code = "from wvad_core.cli import process; process.run(lambda argv: print('x' * 100_000))"
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() == 141


def test_check_writable(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "new", tmp_path / "new" / "deeper", Path("new")):
        options.check_writable(folder)
    for folder in (tmp_path / "file", tmp_path / "file" / "x" / "y"):
        with pytest.raises(InputError, match="cannot be written"):
            options.check_writable(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("words, shown", [([], ["info", "warning"]), (["-v"], ["debug", "info", "warning"]),
                                          (["-q"], ["warning"])])
def test_logs_of_the_library_are_lines_on_stderr(capsys, words, shown):
    logger = logging.getLogger("wvad")
    before = (logger.level, list(logger.handlers))

    def main(argv):
        options.set_log_level(options.parser("x", "", "").parse_args(argv))
        for name in ("debug", "info", "warning"):
            getattr(logger, name)(name)

    assert status(main, *words) == 0
    assert capsys.readouterr() == ("", "".join(f"{name}\n" for name in shown))
    assert (logger.level, logger.handlers) == before


@pytest.mark.parametrize("installed, expected", [({"torch", "mindspore"}, "torch"), ({"mindspore"}, "mindspore"),
                                                 (set(), "numpy")])
def test_the_default_backend_is_the_first_that_is_installed(monkeypatch, installed, expected):
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda name: name in installed or None)
    assert options.default_backend("numpy") == expected


def test_the_library_loads_nothing_heavy():
    subprocess.run([sys.executable, "-c", f"import wvad_core; {CHECK}"], check=True)


def called(*words):
    """The program in a process of its own, and the check of what it has loaded; what it has printed."""
    done = subprocess.run([sys.executable, "-c", CALLED + CHECK, *words], capture_output=True, text=True,
                          env={**process.os.environ, "COLUMNS": str(COLUMNS)})
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [["wvad", name] for name in command.COMMANDS] + [[str(tool)] for tool in TOOLS],
                         ids=lambda words: Path(words[-1]).stem)
def test_help_fits_a_screen_with_an_example_and_loads_nothing_heavy(words):
    name = " ".join(words) if words[0] == "wvad" else f"python tools/{Path(words[0]).name}"
    printed = called(*words, "--help")
    assert printed.startswith("usage: ") and "-v, --verbose" in printed and "-q, --quiet" in printed
    assert f"\nexamples:\n  {name}" in printed
    lines = printed.splitlines()
    assert len(lines) <= LINES and max(map(len, lines)) <= COLUMNS, (len(lines), max(lines, key=len))


def test_help_of_all_lists_the_subcommands():
    printed = called("wvad", "--help")
    assert printed == called("wvad") and "\nexamples:\n  wvad demo\n" in printed
    assert max(map(len, printed.splitlines())) <= COLUMNS and len(printed.splitlines()) <= LINES
    assert all(f"\n  {name:<10}{summary}\n" in printed for name, summary in command.COMMANDS.items())


def test_the_version():
    assert called("wvad", "--version") == f"wvad {version('wvad')}\n"


def test_the_installed_command_is_the_package_run_as_a_module():
    (script,) = entry_points(group="console_scripts", name="wvad")
    assert script.load() is command.program
    done = subprocess.run([sys.executable, "-m", "wvad_core", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"wvad {version('wvad')}\n")


@pytest.mark.parametrize("words, message", [
    (["tets"], "unknown command 'tets'; did you mean test?"),
    (["fly"], f"unknown command 'fly'; the commands are {', '.join(command.COMMANDS)}"),
    (["-q", "demo"], "-q: options come behind a command, as in wvad test -q; wvad --help lists the commands")])
def test_what_is_no_command(capsys, words, message):
    assert status(command.main, *words) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_every_subcommand_is_a_file_of_that_name():
    for name in command.COMMANDS:
        module = command.module(name)
        assert module.__doc__.startswith(f"`wvad {name}`: ") and callable(module.main)
    assert command.environment(["train", "x"]) == command.module("train").ENVIRONMENT
    assert command.environment(["test"]) == command.environment([]) == command.environment(["fly"]) == {}
