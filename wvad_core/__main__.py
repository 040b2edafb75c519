"""`python -m wvad_core` is the command `wvad`."""
from .cli.command import program

if __name__ == "__main__":
    program()
