"""`wvad test` by its best-known name: score a test set, all crops of a video together, and report the metrics."""
from functools import partial

from wvad_core.cli import process, test

main = partial(test.main, prog="python tools/test_10crop.py")

if __name__ == "__main__":
    process.start(main)
