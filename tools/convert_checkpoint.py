"""`wvad convert`, with --check also `wvad inspect`: convert a checkpoint, or say what it is."""
from functools import partial

from wvad_core.cli import convert, process

main = partial(convert.main, prog="python tools/convert_checkpoint.py")

if __name__ == "__main__":
    process.start(main)
