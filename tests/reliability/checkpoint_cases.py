"""Hostile checkpoints: every format that is read, this library's own files and published ones, damaged in every way.

This library's files have a hash: whatever is taken scores as the undamaged file. A published file says nothing of what it
ought to be: its tensors must be those that another reader finds in the damaged file (second_readers.py).
"""
from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import cases
import numpy as np
import second_readers
from damage import DAMAGES, sparse, special
from safetensors.numpy import save as safetensors_bytes
from trials import Trial, equals, kind

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents

METHODS = ("ar-net", "bn-wvad", "rtfm", "saa", "ssrl", "ur-dmu")
MAGIC = pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
LEGACY_KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


@dataclass(frozen=True)
class Base:
    """An undamaged detector: its file in every form, its tensors under published names, and its scores of a video."""
    method: str
    detector: wv.Detector
    published: dict[str, np.ndarray]
    settings: dict[str, Any]
    video: np.ndarray
    scores: np.ndarray
    files: dict[str, bytes]


@cache
def base(method: str, folder: Path) -> Base:
    """folder: for the files that are made on the way."""
    settings = cases.CONFIGS[method][0]
    detector = cases.detector(method, settings, "numpy")
    video = cases.video(method, settings, 5)
    files = {}
    for suffix in (".safetensors", ".pt", ".ckpt"):
        detector.save(folder / f"ours{suffix}")
        files[f"own {suffix}"] = (folder / f"ours{suffix}").read_bytes()
    files["own .safetensors of version 1"] = version_1(detector)
    published = published_tensors(detector)
    formats.by_suffix(Path("x.ckpt")).write(folder / "published.ckpt", Contents(published, {}))
    files |= {"published .safetensors": safetensors_bytes(published), "published .pt": zipped(published),
              "published legacy .pt": legacy(published), "published .pkl": pickle.dumps(published, 4),
              "published .npz": archived(published),
              "published .ckpt": without_checksum((folder / "published.ckpt").read_bytes())}
    for path in folder.iterdir():
        path.unlink()
    return Base(method, detector, published, settings, video, detector.score(video), files)


def published_tensors(detector: wv.Detector) -> dict[str, np.ndarray]:
    weights = detector.weights()
    names = wv.published_names(detector.method, **detector.config.as_dict())
    return {theirs: np.ascontiguousarray(weights[ours]).reshape(weights[ours].shape) for theirs, ours in names.items()}


def archived(tensors: dict[str, np.ndarray]) -> bytes:
    """As np.savez writes."""
    file = io.BytesIO()
    np.savez(file, **tensors)
    return file.getvalue()


def without_checksum(content: bytes) -> bytes:
    """As MindSpore writes where it is not told to compute one."""
    return content[:-17] if content[-17:-10] == b"crc_num" else content


def version_1(detector: wv.Detector) -> bytes:
    """As this library wrote before metadata were under the hash."""
    state, weights = hashlib.sha256(), detector.weights()
    for name in sorted(weights):
        tensor = np.ascontiguousarray(weights[name])
        state.update(f"{name} {tensor.dtype.str} {list(weights[name].shape)}\n".encode())
        state.update(tensor.tobytes())
    return safetensors_bytes(weights, {"method": detector.method, "config": json.dumps(detector.config.as_dict()),
                                       "version": "0.2.0", "sha256": state.hexdigest()})


class _Tensors(pickle._Pickler):
    """Writes arrays as PyTorch's tensors, without PyTorch: `storages` has their bytes afterwards."""

    def __init__(self, file: io.BytesIO, protocol: int = 2) -> None:
        super().__init__(file, protocol)
        self.storages: dict[str, np.ndarray] = {}

    def save(self, value: Any, *given: Any, **named: Any) -> None:
        if not isinstance(value, np.ndarray):
            return super().save(value, *given, **named)
        key = str(len(self.storages))
        self.storages[key] = value
        strides = tuple(step // value.itemsize for step in np.zeros(value.shape, value.dtype).strides)
        self.write(b"ctorch._utils\n_rebuild_tensor_v2\n(")
        super().save(("storage",))
        self.write(b"0(")
        super().save("storage")
        self.write(f"ctorch\n{LEGACY_KINDS[str(value.dtype)]}\n".encode())
        for part in (key, "cpu", value.size):
            super().save(part)
        self.write(b"tQ")
        for part in (0, tuple(value.shape), strides, False, OrderedDict()):
            super().save(part)
        self.write(b"tR")
        return None


def pickled(top: Any) -> tuple[bytes, dict[str, np.ndarray]]:
    file = io.BytesIO()
    pickler = _Tensors(file)
    pickler.dump(top)
    return file.getvalue(), pickler.storages


def legacy(top: Any, code: bytes | None = None) -> bytes:
    """The older form of torch.save, of the same top object with another pickle where one is given."""
    own, storages = pickled(top)
    return MAGIC + (code or own) + pickle.dumps(list(storages), 2) + b"".join(
        struct.pack("<q", value.size) + value.tobytes() for value in storages.values())


def zipped(top: Any, code: bytes | None = None) -> bytes:
    """The newer form."""
    own, storages = pickled(top)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {"data.pkl": code or own, "byteorder": b"little", "version": b"3\n",
                              **{f"data/{key}": value.tobytes() for key, value in storages.items()}}.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return file.getvalue()


FORMS: dict[str, tuple[str, Callable[[bytes], Any] | None]] = {
    "own .safetensors": ("x.safetensors", None), "own .pt": ("x.pt", None), "own .ckpt": ("x.ckpt", None),
    "own .safetensors of version 1": ("x.safetensors", None),
    "published .safetensors": ("x.safetensors", second_readers.safetensors),
    "published .pt": ("x.pt", second_readers.zipped), "published legacy .pt": ("x.pt", second_readers.legacy),
    "published .pkl": ("x.pkl", second_readers.plain), "published .npz": ("x.npz", second_readers.archived),
    "published .ckpt": ("x.ckpt", second_readers.mindspore)}
"""{form: the name of its file, and the other reader of files that have no hash}."""


def any_base(rng: Random, folder: Path) -> Base:
    return base(rng.choice(METHODS), folder)


def scores(path: Path, made: Base) -> Callable[[], np.ndarray]:
    """The scores of a video by a file, and the file's tensors besides."""
    def act() -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return wv.load(path).score(made.video)

    return act


def contents(path: Path, made: Base, settings: dict[str, Any]) -> Callable[[], dict[str, np.ndarray]]:
    """The tensors of a file from which scores could be computed: what they are is for the caller to judge."""
    def act() -> dict[str, np.ndarray]:
        tensors = dict(formats.read(path)[1].tensors)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            wv.load(path, method=made.method, **settings).score(made.video)
        return tensors

    return act


def own(path: Path, made: Base) -> Trial:
    return Trial(scores(path, made), equals(made.scores))


def of_others(path: Path, made: Base, reader: Callable[[bytes], Any], refusable: bool = True) -> Trial:
    def right(found: dict[str, np.ndarray]) -> bool:
        expected = second_readers.tensors(path, reader)
        if expected is None:  # it minds what says nothing of tensors
            return of_the_file(found, made.published, path.read_bytes())
        return equals(expected)(found) or equals(made.published)(found)

    return Trial(contents(path, made, made.settings), right, refusable)


def of_the_file(found: dict[str, np.ndarray], undamaged: dict[str, np.ndarray], data: bytes) -> bool:
    """Whether all tensors are there, in their types and shapes, with values that lie in the file as they are."""
    return [(name, value.dtype, value.shape) for name, value in sorted(found.items())] == [
        (name, value.dtype, value.shape) for name, value in sorted(undamaged.items())] and all(
        np.array_equal(value, undamaged[name]) or value.tobytes() in data for name, value in found.items())


def damaged(form: str, damage: str) -> Callable[[Random, Path], Trial]:
    name, reader = FORMS[form]

    def make(rng: Random, folder: Path) -> Trial:
        made, path = any_base(rng, folder), folder / name
        path.write_bytes(DAMAGES[damage](made.files[form], rng))
        return own(path, made) if reader is None else of_others(path, made, reader)

    return make


for form in FORMS:
    for damage in DAMAGES:
        kind(f"checkpoint, {form}, {damage}", 4 if damage == "bits" else 2)(damaged(form, damage))


@kind("checkpoint, undamaged")
def undamaged(rng: Random, folder: Path) -> Trial:
    """The suite's own control: every form is read, and rightly."""
    made, form = any_base(rng, folder), rng.choice(list(FORMS))
    name, reader = FORMS[form]
    (folder / name).write_bytes(made.files[form])
    if reader is None:
        return Trial(scores(folder / name, made), equals(made.scores), refusable=False)
    return of_others(folder / name, made, reader, refusable=False)


@kind("checkpoint, swapped parts of two files")
def two_files(rng: Random, folder: Path) -> Trial:
    """The beginning of one and the end of another: either of them, or refused; never a mixture of both."""
    form = rng.choice(list(FORMS))
    one, other = (base(method, folder) for method in rng.sample(METHODS, 2))
    first, second = one.files[form], other.files[form]
    place = rng.choice((8, rng.randrange(len(first)), rng.randrange(2000)))
    name, reader = FORMS[form]
    (folder / name).write_bytes(first[:place] + second[place:])
    if reader is not None:
        return of_others(folder / name, one, reader)
    rights = [equals(of.detector.score(one.video)) for of in (one, other)
              if of.settings["feature_dim"] == one.video.shape[-1]]
    return Trial(scores(folder / name, one), lambda found: any(right(found) for right in rights))


@kind("checkpoint, sparse or special file", 3)
def not_a_file(rng: Random, folder: Path) -> Trial:
    made, form = any_base(rng, folder), rng.choice(list(FORMS))
    name, content = FORMS[form][0], made.files[form]
    path = folder / name
    if rng.random() < 0.3:
        path.write_bytes(content)
        special(path, rng)
    else:
        head = rng.choice((content, content[:rng.randrange(len(content))], b"\x80\x02c", b"\x80\x02X\xff\xff\xff\x7f", b"",
                           b"\x80\x02\x8a\xff", b"\x80\x02V", b"\x80\x02(lp0\n", struct.pack("<Q", 90_000_000) + b"{",
                           b"PK\x03\x04", b"\n\xff\xff\xff\xff\x0f\n"))
        sparse(path, head, rng.choice((3, 50, 200)) << 30)
    return Trial(scores(path, made))


HOSTILE_JSON = ("null", "[]", "1e999", "NaN", "-1", "{}", '"x"', "[" * 5000, '{"a":' * 3000, "9" * 5000, '"\\ud800"',
                "true", "[1,2]")


@kind("checkpoint, crafted header of safetensors", 6)
def header(rng: Random, folder: Path) -> Trial:
    """Values of the header replaced by others that JSON has; of this library's files the metadata too."""
    made, path = any_base(rng, folder), folder / "x.safetensors"
    form = rng.choice([form for form in FORMS if form.endswith("safetensors")])
    content = made.files[form]
    length = int.from_bytes(content[:8], "little")
    head = json.loads(content[8:8 + length])
    key = rng.choice([name for name in head] + ["__metadata__"] * 2 * ("__metadata__" in head))
    if rng.random() < 0.3:
        text = json.dumps(head).replace(json.dumps(head[key]), rng.choice(HOSTILE_JSON), 1)
    else:
        inner = rng.choice(list(head[key]))
        hostile = rng.choice(HOSTILE_JSON)
        if key == "__metadata__":
            hostile = json.dumps(hostile)
        text = json.dumps({**head, key: {**head[key], inner: "@"}}).replace('"@"', hostile, 1)
    data = text.encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + content[8 + length:])
    if form.startswith("own"):
        return own(path, made)
    return of_others(path, made, second_readers.safetensors)


@kind("checkpoint, crafted metadata with its hash", 3)
def settings(rng: Random, folder: Path) -> Trial:
    """A whole file of this library whose configuration says something else: one line, or a detector of finite scores."""
    from wvad_core.checkpoints.contents import describe

    made, path = any_base(rng, folder), folder / "x.safetensors"
    detector = made.detector
    config = detector.config.as_dict()
    name = rng.choice([*config, "nonsense"])
    config[name] = rng.choice((None, -1, 0, 1, 2, 3.5, True, "x", [], [1], [0, 0], {}, 10**9, 1e300, -(10**30),
                               "9" * 5000, [[1]],
                               float("nan"), float("inf")))
    tensors = detector.weights()
    method = rng.choice((made.method, made.method, rng.choice(METHODS), "../x", "", "x" * 5000, "os", "nul\0"))
    formats.by_suffix(path).write(path, describe(tensors, method, config))

    def act() -> np.ndarray:
        with np.errstate(all="ignore"):
            return wv.load(path).score(made.video)

    return Trial(act, lambda found: bool(np.isfinite(found).all()) and found.shape == made.scores.shape)


@kind("checkpoint, values that are not finite", 3)
def not_finite(rng: Random, folder: Path) -> Trial:
    """NaN, infinity or a float64 beyond float32 in one place of any file, with a right hash: refused."""
    made = any_base(rng, folder)
    detector = made.detector
    weights = {name: np.array(value) for name, value in detector.weights().items()}
    name = rng.choice([name for name, value in weights.items() if value.dtype == np.float32 and value.size])
    value = rng.choice((float("nan"), float("inf"), -float("inf"), 1e39))
    if value == 1e39:
        weights[name] = weights[name].astype(np.float64)
    weights[name].reshape(-1)[rng.randrange(weights[name].size)] = value
    suffix = rng.choice((".safetensors", ".pt", ".ckpt"))
    path = folder / f"x{suffix}"
    if rng.random() < 0.5:
        from wvad_core.checkpoints.contents import describe
        formats.by_suffix(path).write(path, describe(weights, made.method, detector.config.as_dict()))
    else:
        names = wv.published_names(made.method, **detector.config.as_dict())
        formats.by_suffix(path).write(path, Contents({theirs: weights[ours] for theirs, ours in names.items()}, {}))
    return Trial(contents(path, made, {}))
