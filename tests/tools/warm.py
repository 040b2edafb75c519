"""Command lines in processes that are forked from one that has imported what they need: each is a process of its own, as a
program is, without the seconds that importing PyTorch takes. Needs nothing but the standard library in the interpreter."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

IMPORTED = ("numpy", "wvad_core", "torch")
"""Where they are there. None of them has computed when a process is forked."""


class Programs:
    """An interpreter with its environment and its working directory, whose processes run command lines.

    A line is a program and its words: "wvad ..." as the console script, "python FILE" or "python -m MODULE" as Python does.
    """

    def __init__(self, python: str | Path, folder: Path, environment: dict[str, str]):
        self.server = subprocess.Popen([python, __file__, *IMPORTED], cwd=folder, env=environment, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_) -> None:
        self.server.stdin.close()
        self.server.wait()

    def run(self, words: list[str]) -> subprocess.CompletedProcess:
        print(json.dumps(words), file=self.server.stdin, flush=True)
        status, out, err = json.loads(self.server.stdout.readline())
        return subprocess.CompletedProcess(words, status, out, err)


def serve(imported: list[str]) -> None:
    """Runs the lines that come, and tells how each has ended and what it has printed."""
    import importlib
    import os
    import tempfile

    for name in imported:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                for number, file in ((0, open(os.devnull, "rb")), (1, out), (2, err)):
                    os.dup2(file.fileno(), number)
                start(json.loads(line))
            _, status = os.waitpid(child, 0)
            printed = []
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode())
        print(json.dumps([os.waitstatus_to_exitcode(status), *printed]), flush=True)


def start(words: list[str]) -> None:
    """Does what a line says, and ends the process."""
    import os
    import runpy
    import traceback

    status = 0
    try:
        program, *sys.argv = words
        sys.path[0] = os.getcwd()
        if program == "wvad":
            from wvad_core.cli.command import program as console_script

            sys.argv = words
            console_script()
        elif sys.argv[0] == "-m":
            sys.argv = sys.argv[1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1:])
