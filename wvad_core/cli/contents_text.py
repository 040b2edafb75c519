"""What a checkpoint is and what it holds, in words: what `wvad convert`, `inspect` and `export` print."""
from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..checkpoints import formats
from ..checkpoints.assumed import text
from ..checkpoints.contents import Contents, completed
from ..checkpoints.identification.recognition import Checkpoint
from ..data.companions import parse_companions, read_companions
from ..errors import one_line
from ..registry import model_specification

WIDTH = 110
ROWS = 40
"""Of the table of tensors; those between are counted."""
LONGEST = 70


def read(source: Path, companions: Sequence[str]) -> tuple[ModuleType, Contents]:
    """A checkpoint's format and contents, with the tensors that NAME=FILE words add to it."""
    kind, contents = formats.read(source)
    return kind, completed(contents, read_companions(parse_companions(companions)), str(source))


def about_file(source: Path, format_name: str) -> list[str]:
    return [line("file", f"{source}, {size(source)}"), line("format", format_name)]


def about(checkpoint: Checkpoint, contents: Contents) -> list[str]:
    """The model, its configuration, and what of the tensors is used."""
    behind = f" behind {checkpoint.prefix}" if checkpoint.prefix else ""
    how = f"by its metadata, written by version {one_line(contents.metadata['version'], 20)}" if checkpoint.described else (
        f"by its tensors, which have {checkpoint.names} names{behind}")
    assumed = checkpoint.assumed
    shown = {name: value for name, value in checkpoint.config.as_dict().items() if name not in assumed.settings}
    spec = model_specification(checkpoint.method)
    lines = [line(spec.LABEL, f"{checkpoint.method}, {how}"), line("settings", settings(shown)),
             line("by default", settings(assumed.settings) + "; no tensor shows these" if assumed.settings else ""),
             line("or", "; ".join(assumed.alternatives) + ", whose scores are the same" if assumed.alternatives else ""),
             line("threshold", checkpoint.threshold.text() if checkpoint.threshold else ""),
             line("trained on", f"features of {checkpoint.origin}" if checkpoint.origin else ""),
             line("tensors", counted(contents.tensors)), line("not used", some(checkpoint.dropped)),
             line("zeros", some(assumed.zeros) + ", which the file does not have" if assumed.zeros else ""),
             line("fresh", some(assumed.fresh) + ", a part that the file does not have" if assumed.fresh else ""),
             line("note", f"{spec.OUTPUT} depend on what the file does not say: {assumed.in_scores()}" if assumed.scored else ""),
             line("note", assumed.altered())]
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
