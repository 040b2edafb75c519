"""`wvad methods --markdown` with this checkout's golden cases: the table of the README."""
from collections.abc import Sequence
from pathlib import Path

from wvad_core.cli import methods, process

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "published" / "golden"


def main(argv: Sequence[str]) -> None:
    methods.main(["--markdown", "--golden", str(GOLDEN), *argv], "python tools/list_methods.py")


if __name__ == "__main__":
    process.start(main)
