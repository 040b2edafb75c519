"""Convert a checkpoint: this library's, or one that a method's authors published, in any format into any other.

The format of IN is seen from its content, that of OUT from its suffix. A file of this library says which method it holds,
in which configuration; of any other, both are seen from the names and shapes of its tensors. Where those fit several
detectors, --method and settings decide. Nothing needs PyTorch or MindSpore but the formats for deployment.
"""
from __future__ import annotations

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import wvad_core as wv
from command_line import check_writable, run
from wvad_core.checkpoints import export, formats
from wvad_core.checkpoints.assumed import text
from wvad_core.checkpoints.contents import Contents, describe
from wvad_core.checkpoints.identification.identify import Checkpoint, identify
from wvad_core.detector import from_checkpoint
from wvad_core.errors import one_line

EXAMPLES = """
examples:
  python tools/convert_checkpoint.py official.pkl weights.safetensors
  python tools/convert_checkpoint.py weights.safetensors weights.ckpt
  python tools/convert_checkpoint.py state_dict.pt weights.safetensors --method METHOD heads=2 head_dim=16
  python tools/convert_checkpoint.py weights.safetensors official.pth --published
  python tools/convert_checkpoint.py official.pkl --check

Suffixes of OUT: .safetensors; .pt, .pth, .pkl (PyTorch); .ckpt (MindSpore); for deployment .onnx, .mindir. Tensors keep
their dtypes. A list is written with commas: ratios=16,32. Exit status: 2 for bad input, and where --check finds that the
file is no whole checkpoint.
"""
WIDTH = 110
ROWS = 40
"""Of the table of tensors; those between are counted."""
LONGEST = 70


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_intermixed_args(argv)
    words = arguments.words
    targets = [] if arguments.check else words[:1]
    if not arguments.check and not targets:
        raise wv.InputError("OUT is missing, the file to write; or --check, to look at IN alone")
    given = dict(setting(word) for word in words[len(targets):])
    if arguments.check:
        check(arguments.source, arguments.method, given)
    else:
        convert(arguments.source, Path(targets[0]), arguments.method, given, arguments.published, arguments.allow_fresh)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(usage="%(prog)s IN OUT [--method METHOD] [SETTING=VALUE ...]\n"
                                           "       %(prog)s IN --check [--method METHOD] [SETTING=VALUE ...]",
                                     description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="IN", help="the checkpoint")
    parser.add_argument("words", nargs="*", metavar="OUT [SETTING=VALUE ...]",
                        help="the file to write, and settings of the method that the file does not show")
    parser.add_argument("--method", help=f"{', '.join(wv.list_methods())}; where the tensors fit several")
    parser.add_argument("--published", action="store_true",
                        help="write the tensors under the names of the method's published checkpoints")
    parser.add_argument("--allow-fresh", action="store_true",
                        help="draw the weights of a part that IN lacks and scores are computed from, to train further")
    parser.add_argument("--check", action="store_true", help="say what IN is and what it holds, and write nothing")
    return parser


def setting(word: str) -> tuple[str, Any]:
    """depth=2 -> ("depth", 2); ratios=16,32 -> ("ratios", [16, 32]); variant=lstm -> ("variant", "lstm")."""
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise wv.InputError(f"{word!r} is not a setting, expected NAME=VALUE")
    try:
        return name, json.loads(f"[{value.rstrip(',')}]" if "," in value else value)
    except (ValueError, RecursionError):
        return name, value


def convert(source: Path, target: Path, method: str | None, given: dict[str, Any], published: bool,
            allow_fresh: bool) -> None:
    if target.suffix not in export.formats():
        check_suffix(target)
    if source.exists() and target.exists() and source.samefile(target):
        raise wv.InputError(f"{target}: OUT is IN, expected another file")
    if target.is_dir():
        raise wv.InputError(f"{target}: is a folder, expected a file to write")
    check_writable(target.parent)
    kind, contents = formats.read(source)
    found = identify(contents, str(source), method, given)
    found.check_whole(str(source), allow_fresh)
    print("\n".join([*about_file(source, kind.NAME), *about(found, contents)]), flush=True)
    if target.suffix in export.formats():
        export.export(from_checkpoint(found, str(source), allow_fresh=allow_fresh), target)
    else:
        formats.by_suffix(target).write(target, as_published(found) if published else describe(
            found.weights, found.method, found.config.as_dict(), found.assumed))
    print(line("written", f"{target}, {size(target)}"))


def as_published(found: Checkpoint) -> Contents:
    """The tensors under their published names, in PyTorch's shapes, and nothing else."""
    names = wv.published_names(found.method, **found.config.as_dict())
    return Contents({theirs: found.weights[ours] for theirs, ours in names.items()}, {})


def check_suffix(target: Path) -> None:
    try:
        formats.by_suffix(target)
    except wv.InputError as error:
        raise wv.InputError(f"{error}; for deployment {', '.join(export.formats())}") from None


def check(source: Path, method: str | None, given: dict[str, Any]) -> None:
    """Print all that is known of a file. Raises InputError, behind that, where it is no whole checkpoint."""
    kind, contents = formats.read(source)
    print("\n".join(about_file(source, kind.NAME)))
    try:
        found = identify(contents, str(source), method, given)
    except wv.InputError:
        print("\n".join([line("tensors", counted(contents.tensors)), *table(contents.tensors)]), flush=True)
        raise
    print("\n".join([*about(found, contents), *table(contents.tensors)]))


def about_file(source: Path, format_name: str) -> list[str]:
    return [line("file", f"{source}, {size(source)}"), line("format", format_name)]


def about(found: Checkpoint, contents: Contents) -> list[str]:
    """The method, its configuration, and what of the tensors is used."""
    behind = f" behind {found.prefix}" if found.prefix else ""
    how = f"by its metadata, written by version {one_line(contents.metadata['version'], 20)}" if found.described else (
        f"by its tensors, which have {found.names} names{behind}")
    assumed = found.assumed
    shown = {name: value for name, value in found.config.as_dict().items() if name not in assumed.settings}
    lines = [line("method", f"{found.method}, {how}"), line("settings", settings(shown)),
             line("by default", settings(assumed.settings) + "; no tensor shows these" if assumed.settings else ""),
             line("or", "; ".join(assumed.alternatives) + ", whose scores are the same" if assumed.alternatives else ""),
             line("tensors", counted(contents.tensors)), line("not used", some(found.dropped)),
             line("zeros", some(assumed.zeros) + ", which the file does not have" if assumed.zeros else ""),
             line("fresh", some(assumed.fresh) + ", a part that the file does not have" if assumed.fresh else ""),
             line("note", f"scores depend on what the file does not say: {assumed.in_scores()}" if assumed.scored else "")]
    return [text for text in lines if text]


def line(name: str, value: str) -> str:
    """NAME  VALUE, wrapped; nothing without a value."""
    return textwrap.fill(value, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=" " * 12, break_long_words=False,
                         break_on_hyphens=False) if value else ""


def settings(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={text(value)}" for name, value in values.items() if value != ())


def some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shortened, names[:most])) + more


def counted(tensors: dict[str, np.ndarray]) -> str:
    """40, of 5.8 M numbers: 36 float32, 4 int64"""
    kinds = Counter(str(tensor.dtype) for tensor in tensors.values())
    numbers = sum(tensor.size for tensor in tensors.values())
    return f"{len(tensors)}, of {numbers} numbers: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())


def table(tensors: dict[str, np.ndarray]) -> list[str]:
    """A row for each tensor: name, dtype, shape. Of many, the first and the last ones."""
    rows = [(shortened(name), str(tensor.dtype), " x ".join(map(str, tensor.shape)) or "one number")
            for name, tensor in tensors.items()]
    if len(rows) > ROWS:
        rows[ROWS // 2:-ROWS // 2] = [(f"... {len(rows) - ROWS} more", "", "")]
    width = max((len(name) for name, _, _ in rows), default=0)
    return ["", *(f"{name:<{width}}  {dtype:<8}  {shape}".rstrip() for name, dtype, shape in rows)]


def shortened(name: str) -> str:
    """A name; long ones cut in the middle."""
    return name if len(name) <= LONGEST else f"{name[:LONGEST // 2]}...{name[-LONGEST // 2:]}"


def size(path: Path) -> str:
    count = path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} bytes"


if __name__ == "__main__":
    run(main)
