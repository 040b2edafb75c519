"""`wvad train`, as a script that torchrun and msrun start: train a detector by a recipe, into a run folder."""
from functools import partial

from wvad_core.cli import process, train

main = partial(train.main, prog="python tools/train.py")

if __name__ == "__main__":
    process.start(main, train.ENVIRONMENT)
