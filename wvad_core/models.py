"""Models of both kinds: detectors and extractors, created, loaded, converted and exported by one set of functions."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from . import detector, extractor
from .backend import Backend, export_formats, pip_command
from .blocks import tensors
from .blocks.configuration import ExtractorConfig, configure
from .checkpoints import formats
from .checkpoints.contents import Contents, completed
from .checkpoints.identification.naming import as_computed
from .checkpoints.identification.recognition import Checkpoint, identify, of_published
from .checkpoints.identification.sizes import shown_by_companions
from .checkpoints.identification.state_dicts import without_prefixes
from .data.companions import read_companions
from .detector import Detector
from .errors import InputError, one_line
from .extractor import Extractor
from .files import written_whole
from .registry import model_specification

Array = np.ndarray


def create(name: str, backend: str = "numpy", device: str = "auto", precision: str = "float32", seed: int = 0,
           **config: Any) -> Any:
    """A `Detector` or an `Extractor`, by the name of its model, with fresh weights: the same for a seed on every backend."""
    spec = model_specification(name)
    configured = configure(spec.Config, config, name)
    weights = tensors.draw(spec.parameters(configured), seed)
    return from_weights(name, configured, weights, backend, device, precision, seed)


def load(path: str | Path, backend: str = "numpy", device: str = "auto", precision: str = "float32", seed: int = 0,
         method: str | None = None, allow_fresh: bool = False, companions: Mapping[str, Any] | None = None,
         **config: Any) -> Any:
    """A `Detector` or an `Extractor` from a checkpoint file: this library's or a published one, in any format.

    companions: {name: array, or a .npy file} of tensors that a published checkpoint lacks, as it has them in a file apart.
    What a file does not say is seen from its tensors. `method`, the name of a model, and settings decide where several
    fit; a file of another one is an error. What neither shows is assumed: `assumed` of what is returned has it, and an
    AssumedWarning says so where scores or features depend on it. A file without a part that they are computed from is an
    error, unless allow_fresh draws its weights, to train further. seed: of what is random in training, and of weights that
    are drawn. Raises InputError.
    """
    contents = completed(formats.read(Path(path))[1], read_companions(companions), str(path))
    made = _from_contents(contents, str(path), backend, device, precision, seed, method, allow_fresh, **config)
    made.assumed.warn(str(path), model_specification(made.name).OUTPUT)
    return made


def _from_contents(contents: Contents, source: str, backend: str = "numpy", device: str = "auto", precision: str = "float32",
                   seed: int = 0, method: str | None = None, allow_fresh: bool = False, **config: Any) -> Any:
    """`load`, of what a file holds that has been read, without a warning. source: what messages call it."""
    return from_checkpoint(identify(contents, source, method, config, seed), source, backend, device, precision, seed, allow_fresh)


def load_detector(path: str | Path, *given: Any, **named: Any) -> Detector[Any]:
    """`load`, where only a detector will do. Raises InputError for a file that holds an extractor."""
    return _of_kind(Detector, "a detector", load(path, *given, **named), path)


def extractor_from_contents(contents: Contents, source: str, *given: Any, **named: Any) -> Extractor[Any]:
    """`load`, of what a file holds that has been read, where only an extractor will do. Raises InputError for a detector's."""
    made = _of_kind(Extractor, "an extractor", _from_contents(contents, source, *given, **named), source)
    made.assumed.warn(source, model_specification(made.name).OUTPUT)
    return made


def _of_kind(kind: type, expected: str, made: Any, path: str | Path) -> Any:
    if not isinstance(made, kind):
        raise InputError(f"{path}: a checkpoint of {made.name}, expected {expected}'s")
    return made


def from_checkpoint(checkpoint: Checkpoint, source: str, backend: str = "numpy", device: str = "auto",
                    precision: str = "float32", seed: int = 0, allow_fresh: bool = False) -> Any:
    """A detector or an extractor of what a file was found to hold. Raises InputError, which names `source`, as `load`; it
    does not warn."""
    checkpoint.check_whole(source, allow_fresh)
    weights = as_computed(checkpoint.weights, model_specification(checkpoint.method).parameters(checkpoint.config))
    made = from_weights(checkpoint.method, checkpoint.config, weights, backend, device, precision, seed)
    known = {"threshold": checkpoint.threshold, "origin": checkpoint.origin} if isinstance(made, Detector) else {}
    return replace(made, assumed=checkpoint.assumed, **known)


def from_published(name: str, state: Mapping[str, Array], backend: str = "numpy", device: str = "auto",
                   precision: str = "float32", seed: int = 0, allow_fresh: bool = False, **config: Any) -> Any:
    """A detector or an extractor from the tensors of a published checkpoint, {published name: array}.

    Settings are the defaults or given, or shown by a companion of the method's that is a tensor of it. A tensor whose sizes
    agree once axes of length 1 are dropped (MindSpore's (out, in, 1, k) kernels) is taken; so are names that all begin with
    `module.`. Where a model's parts are published in files of their own, `state` may hold one of them or several; a part
    that it does not hold has fresh weights, drawn from `seed`: an error where scores are computed from it, unless
    allow_fresh. `assumed`, and the warning, are as `load`'s.
    """
    spec = model_specification(name)
    state = without_prefixes(state, besides=getattr(spec, "COMPANIONS", ()))
    configured = configure(spec.Config, config, name)
    configured = configure(spec.Config, shown_by_companions(spec, configured, config, state) | config, name)
    source = f"published {name} checkpoint"
    made = from_checkpoint(of_published(name, configured, state, config, source, seed), source, backend, device, precision,
                           seed, allow_fresh)
    made.assumed.warn(source, spec.OUTPUT)
    return made


def from_weights(name: str, config: Any, weights: Mapping[str, Array], backend: str = "numpy", device: str = "auto",
                 precision: str = "float32", seed: int = 0) -> Any:
    """A detector or an extractor with these weights, {canonical name: array}, all of them in their shapes."""
    if isinstance(config, ExtractorConfig):
        return extractor.from_weights(name, config, weights, backend, device, precision)
    return detector.from_weights(name, config, weights, backend, device, precision, seed)


def export(model: Detector[Any] | Extractor[Any], path: str | Path) -> None:
    """Write one file for deployment, which needs nothing of this library: .onnx, or .mindir.

    That of a detector computes `detector.score(features, raw=True)`, (N, T, D) float32 -> (T,) float32; that of an
    extractor takes normalised clips, (N, C, F, H, W) float32 of the published sizes, -> (N, D) float32, and is an .onnx file.
    What training alone takes is left out (`detector.deployed()`).

    Where a method does something to the scores at last, the file does not, and its metadata say so: `scores` is "raw".
    The model may be on any backend: its weights go to the one that writes the format. Raises InputError where that
    backend is not installed, and with the reason where the format cannot express the model.
    """
    path, known, spec = Path(path), export_formats(), model_specification(model.name)
    if path.suffix not in known:
        raise InputError(f"{path}: cannot export to {path.suffix or 'a file without a suffix'}; the formats are "
                         f"{', '.join(known)}")
    model = model.deployed() if isinstance(model, Detector) else model
    metadata = {"method": model.name, "config": json.dumps(model.config.as_dict()), "version": version("wvad")}
    metadata |= model.assumed.metadata()
    for noted in (getattr(model, "threshold", None), getattr(model, "origin", None)):
        metadata |= noted.metadata() if noted else {}
    if hasattr(spec.module, "postprocess"):
        metadata["scores"] = "raw"
    try:
        writer: Backend = known[path.suffix].load()
        network = writer.build(model.name, model.config, model.weights(), "cpu", "float32", 0)
        with written_whole(path) as temporary:
            writer.export(network, temporary, metadata)
    except ImportError as error:
        raise InputError(f"{path}: cannot be written ({one_line(error)}); install what it takes: "
                         f"{pip_command(known[path.suffix])}") from error
    except NotImplementedError as error:
        raise InputError(f"{path}: {path.suffix[1:]} cannot express this {model.name} {spec.KIND}: {error}") from error


def published_names(name: str, **config: Any) -> dict[str, str]:
    """{tensor name in a published checkpoint: canonical name}, one to one."""
    spec = model_specification(name)
    return dict(spec.published(configure(spec.Config, config, name)).names)
