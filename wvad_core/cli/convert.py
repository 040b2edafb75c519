"""`wvad convert`: convert a checkpoint, in any format into any other."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wvad_core as wv

from ..backend import export_formats
from ..checkpoints import formats
from ..checkpoints.contents import Contents, describe
from ..checkpoints.identification.recognition import Checkpoint, identify
from ..detector import Detector
from ..models import from_checkpoint
from . import inspect, options
from .contents_text import about, about_file, line, read, size

DESCRIPTION = """Convert a checkpoint: this library's, or one that a method's authors published, in any format into
any other. The format of IN is seen from its content, that of OUT from its suffix.

A file of this library says which method it holds, in which configuration; of any other, both are
seen from the names and shapes of its tensors. Where those fit several detectors, --method and
settings decide. Nothing needs PyTorch or MindSpore but the formats for deployment."""

EXAMPLES = """
examples:
  %(prog)s official.pkl weights.safetensors
  %(prog)s official.pt weights.ckpt --method METHOD heads=2 head_dim=16
  %(prog)s weights.safetensors official.pth --published

Suffixes of OUT: .safetensors; .pt, .pth, .pkl (PyTorch); .ckpt (MindSpore); for deployment .onnx,
.mindir. Tensors keep their dtypes. A list is written with commas: ratios=16,32. Exit status: 2 for
bad input, and where --check finds that the file is no whole checkpoint."""


def main(argv: Sequence[str], prog: str = "wvad convert") -> None:
    arguments = parser(prog).parse_intermixed_args(argv)
    options.set_log_level(arguments)
    words = arguments.words
    targets = [] if arguments.check else words[:1]
    if not arguments.check and not targets:
        raise wv.InputError("OUT is missing, the file to write; or --check, to look at IN alone")
    given = options.settings(words[len(targets):])
    if arguments.check:
        inspect.check(arguments.source, arguments.method, given, arguments.companion)
    else:
        convert(arguments.source, Path(targets[0]), arguments.method, given, arguments.published, arguments.allow_fresh,
                arguments.quiet, arguments.companion, arguments.deployed)


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s IN OUT [OPTION ...] [SETTING=VALUE ...]")
    parser.add_argument("source", type=Path, metavar="IN", help="the checkpoint")
    parser.add_argument("words", nargs="*", metavar="OUT [SETTING=VALUE ...]",
                        help="the file to write, and settings of the method that the file does not show")
    options.add_identification(parser)
    parser.add_argument("--published", action="store_true",
                        help="write the tensors under the names of the method's published checkpoints")
    parser.add_argument("--deployed", action="store_true",
                        help="write a checkpoint without what training alone takes, such as a text encoder; it is not trained further")
    parser.add_argument("--allow-fresh", action="store_true",
                        help="draw the weights of a part that IN lacks and scores are computed from, to train further")
    parser.add_argument("--check", action="store_true", help="say what IN is and write nothing, as `wvad inspect` does")
    return parser


def convert(source: Path, target: Path, method: str | None, given: dict[str, Any], published: bool = False,
            allow_fresh: bool = False, quiet: bool = False, companions: Sequence[str] = (), deployed: bool = False) -> None:
    """Write a file in the format that `target` has the suffix of, and say what it holds.

    given: settings of the method. companions: NAME=FILE words, of tensors that the source lacks. deployed: without what
    training alone takes.
    """
    if target.suffix not in export_formats():
        check_suffix(target)
    if source.exists() and target.exists() and source.samefile(target):
        raise wv.InputError(f"{target}: OUT is IN, expected another file")
    if target.is_dir():
        raise wv.InputError(f"{target}: is a folder, expected a file to write")
    options.check_writable(target.parent)
    kind, contents = read(source, companions)
    found = identify(contents, str(source), method, given)
    found.check_whole(str(source), allow_fresh)
    if not quiet:
        print("\n".join([*about_file(source, kind.NAME), *about(found, contents)]), flush=True)
    if target.suffix in export_formats():
        wv.export(from_checkpoint(found, str(source), allow_fresh=allow_fresh), target)
    elif deployed and isinstance(made := from_checkpoint(found, str(source), allow_fresh=allow_fresh), Detector):
        made.deployed().save(target)
    else:
        formats.by_suffix(target).write(target, as_published(found) if published else describe(
            found.weights, found.method, found.config.as_dict(), found.assumed, found.threshold, found.origin))
    print(line("written", f"{target}, {size(target)}"))


def as_published(checkpoint: Checkpoint) -> Contents:
    """The tensors under their published names, in PyTorch's shapes, and nothing else."""
    names = wv.published_names(checkpoint.method, **checkpoint.config.as_dict())
    return Contents({theirs: checkpoint.weights[ours] for theirs, ours in names.items()}, {})


def check_suffix(target: Path) -> None:
    try:
        formats.by_suffix(target)
    except wv.InputError as error:
        raise wv.InputError(f"{error}; for deployment {', '.join(export_formats())}") from None
