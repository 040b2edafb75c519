"""Detectors exported for deployment: one file that computes scores without this library.

The entry-point group `wvad.exports` says which backend writes a format: an entry's name is the suffix of the files, and
that of the extra with all that writing them takes.
"""
from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path

from ..backend import Backend, pip_command
from ..detector import Detector
from ..errors import InputError, one_line
from ..files import written_whole
from ..registry import specification

GROUP = "wvad.exports"


def formats() -> dict[str, EntryPoint]:
    """{suffix of the files: the backend that writes them}, whether or not its framework is installed."""
    return {f".{entry.name}": entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def export(detector: Detector, path: str | Path) -> None:
    """Write what `detector.score(features, raw=True)` computes, (N, T, D) float32 -> (T,) float32, in the format that the
    suffix names.

    Where the method does something to the scores at last, the file does not, and its metadata say so: `scores` is "raw".
    The detector may be on any backend: its weights go to the one that writes the format. Raises InputError where that
    backend is not installed, and with the reason where the format cannot express the method.
    """
    path, known = Path(path), formats()
    if path.suffix not in known:
        raise InputError(f"{path}: cannot export to {path.suffix or 'a file without a suffix'}; the formats are "
                         f"{', '.join(known)}")
    metadata = {"method": detector.method, "config": json.dumps(detector.config.as_dict()), "version": version("wvad")}
    metadata |= detector.assumed.metadata()
    if hasattr(specification(detector.method).module, "postprocess"):
        metadata["scores"] = "raw"
    try:
        backend: Backend = known[path.suffix].load()
        network = backend.build(detector.method, detector.config, detector.weights(), "cpu", "float32", 0)
        with written_whole(path) as temporary:
            backend.export(network, temporary, metadata)
    except ImportError as error:
        raise InputError(f"{path}: cannot be written ({one_line(error)}); install what it takes: "
                         f"{pip_command(known[path.suffix])}") from error
    except NotImplementedError as error:
        raise InputError(f"{path}: {path.suffix[1:]} cannot express this {detector.method} detector: {error}") from error
