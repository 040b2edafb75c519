"""The command `wvad`: one file a subcommand, each with `main(argv, prog)`, and `command.py`, which finds them."""
