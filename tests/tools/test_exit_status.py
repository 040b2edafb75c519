"""How a command ends: its exit status, and one line."""
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from wvad_core.cli import process
from wvad_core.errors import Failure, InputError, Terminated


def ends(main, capsys):
    """(status, what is on stderr)"""
    with pytest.raises(SystemExit) as end:
        process.run(main, [])
    return end.value.code, capsys.readouterr().err


def raising(error):
    def main(argv):
        raise error
    return main


@pytest.mark.parametrize("error, status, line", [
    (InputError("a: b"), 2, "error: a: b\n"), (Failure("a: b"), 1, "error: a: b\n"), (KeyboardInterrupt(), 130, ""),
    (OSError(errno.ENOSPC, "No space left on device", "a.pt"), 1, "error: a.pt: No space left on device\n"),
    (Terminated(), 143, ""), (Terminated("run: saved"), 143, "error: run: saved\n")])
def test_what_is_raised_decides(error, status, line, capsys):
    assert ends(raising(error), capsys) == (status, line)


def test_other_errors_of_the_system_go_through(capsys):
    with pytest.raises(PermissionError):
        process.run(raising(PermissionError(errno.EACCES, "no")), [])


def test_sigterm_ends_what_is_at_work_with_143_and_is_the_callers_again(capsys):
    def main(argv):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not ended")

    before = signal.getsignal(signal.SIGTERM)
    assert ends(main, capsys) == (143, "") and signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_signals_stay_as_they_are():
    def call():
        with pytest.raises(SystemExit) as end:
            process.run(lambda argv: handlers.append(signal.getsignal(signal.SIGTERM)), [])
        handlers.append(end.value.code)

    handlers = []
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM), 0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_under_the_output_is_one_line():
    code = "from wvad_core.cli import process; process.run(lambda argv: print('x' * 10**5))"
    with open("/dev/full", "w") as output:
        done = subprocess.run([sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")
