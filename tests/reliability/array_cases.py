"""Hostile feature folders, companions, ground truths and saved reports: whatever is taken is what NumPy reads in the files."""
from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import cases
import numpy as np
from damage import DAMAGES, sparse, special
from trials import Trial, equals, fingerprint, kind

import wvad_core as wv
from wvad_core.data import Dataset
from wvad_core.data.companions import read_companions
from wvad_core.reports.results import Report

FRAMES = {"Fight01": 80, "Riot_02": 33, "Normal03": 160, "Normal04": 16}
TABLE = "video,split,category,frames,intervals\nFight01,test,Fight,80,10-50\nRiot_02,test,Riot,33,4-20\n" \
        "Normal03,test,Normal,160,\n" \
        "Normal04,test,Normal,16,\n"
DIM, SETTINGS = 16, ("rtfm", cases.CONFIGS["rtfm"][0])
LAYOUTS = ("NAME__CROP", "NAME_CROP", "(T, N, D)", "(N, T, D)", "(T, D)")


def save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=False)


def feature_folder(rng: Random, folder: Path) -> tuple[Path, Path, Callable[[], dict[str, np.ndarray] | None], list[Path]]:
    """A table and a folder of features in some layout and dtype; what they give by NumPy alone, now; their files."""
    values = np.random.default_rng(rng.randrange(2**32))
    layout, dtype = rng.choice(LAYOUTS), rng.choice((np.float32, np.float32, np.float16, np.float64, ">f4"))
    table, features = folder / "own.csv", folder / "features"
    table.write_text(TABLE)
    features.mkdir()
    below = features / rng.choice((".", ".", "a", "a/b"))
    below.mkdir(parents=True, exist_ok=True)
    suffix, axis = rng.choice(("", "", "_i3d", "_x264")), layout == "(T, N, D)"
    files: dict[str, list[Path]] = {}
    for name, frames in FRAMES.items():
        array = values.random((10 if layout != "(T, D)" else 1, math.ceil(frames / 16), DIM)).astype(dtype)
        if layout.startswith("NAME"):
            files[name] = [below / f"{name}{suffix}{layout[4:].replace('CROP', str(crop))}.npy" for crop in range(10)]
            for file, crop in zip(files[name], array):
                save(file, crop)
        else:
            files[name] = [below / f"{name}{suffix}.npy"]
            save(files[name][0], array[0] if layout == "(T, D)" else array.swapaxes(0, 1) if axis else array)

    def by_numpy() -> dict[str, np.ndarray] | None:
        found = {}
        with contextlib.suppress(Exception), np.errstate(all="ignore"):
            for name, paths in files.items():
                arrays = [np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) for path in paths]
                whole = np.stack(arrays) if len(arrays) > 1 or arrays[0].ndim == 2 else arrays[0]
                found[name] = (whole.swapaxes(0, 1) if axis else whole).astype(np.float32)
            return found
        return None

    return table, features, by_numpy, [path for paths in files.values() for path in paths]


def read(table: Path, features: Path, between: Callable[[], None] = lambda: None) -> dict[str, np.ndarray]:
    """What the library reads; `between` happens after it has looked at the headers."""
    dataset = Dataset.open(table, features, feature_dim=DIM)
    between()
    dataset.check_finite()
    return {item.video.name: item.features.read() for item in dataset}


def judged(table: Path, features: Path, by_numpy: Callable[[], Any]) -> Trial:
    expected = by_numpy()
    return Trial(lambda: read(table, features), expected and equals(expected))


def damaged_features(damage: str) -> Callable[[Random, Path], Trial]:
    def make(rng: Random, folder: Path) -> Trial:
        table, features, by_numpy, files = feature_folder(rng, folder)
        path = rng.choice(files)
        whole = path.read_bytes()
        made = DAMAGES[damage](whole, rng)
        path.write_bytes(made)
        if len(made) > len(whole) or (damage == "bits" and made[:128] != whole[:128]):
            return Trial(lambda: read(table, features), one_of(by_numpy(), whole_of(by_numpy, path, whole, made)))
        return judged(table, features, by_numpy)

    return make


def whole_of(by_numpy: Callable[[], Any], path: Path, whole: bytes, made: bytes) -> Any:
    """What the undamaged folder gives."""
    path.write_bytes(whole)
    found = by_numpy()
    path.write_bytes(made)
    return found


def one_of(*values: Any) -> Callable[[Any], bool]:
    wanted = [fingerprint(value) for value in values if value is not None]
    return lambda found: fingerprint(found) in wanted


for damage in DAMAGES:
    kind(f"features, {damage}", 5 if damage == "bits" else 2)(damaged_features(damage))


@kind("features, undamaged")
def undamaged(rng: Random, folder: Path) -> Trial:
    table, features, by_numpy, _ = feature_folder(rng, folder)
    return Trial(lambda: read(table, features), equals(by_numpy()), refusable=False)


def hostile_header(rng: Random) -> bytes:
    """The beginning of a .npy file that claims something."""
    shape = rng.choice(("(-1, 16)", "(2**40,)", "(1099511627776, 16)", "(5, -16)", "(5,)", "()", "(5, 16, 1, 1)",
                        "(True, 16)",
                        "(5.0, 16)", "(0, 16)", "(" * 300 + ")" * 300, "(9" + "9" * 5000 + ", 16)", "(5, 16), 1",
                        "[5, 16]", "None",
                        "(4611686018427387904, 4611686018427387904)", "(5, 16)"))
    dtype = rng.choice(("'<f4'", "'|O'", "'<f3'", "'<f16'", "'<c8'", "'|S4'", "'<M8[s]'", "[('a', '<f4')]", "'<i8'",
                        "'|V4'", "1", "None",
                        "'" + "f4," * 3000 + "'", "[('a', '<f4', (2**31, 2**31))]", "{}"))
    order = rng.choice(("False", "True", "0", "None", "'x'"))
    text = rng.choice((f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n", "{" * 5000,
                       "(" * 1000 + "\n", "\0" * 100,
                       f"{{'descr': {dtype}}}\n", "__import__('os').abort()\n", "1" * 10000 + "\n", "'\\ud800'\n",
                       "[[[" * 200 + "\n"))
    version, content = rng.choice((1, 1, 2, 3, 9)), text.encode("utf-8", "surrogatepass")
    claimed = rng.choice((len(content), len(content), 0, 65535, 2**32 - 1))
    size = struct.pack("<H", min(claimed, 65535)) if version == 1 else struct.pack("<I", claimed)
    return b"\x93NUMPY" + bytes([version, 0]) + size + content


@kind("features, crafted header", 6)
def crafted(rng: Random, folder: Path) -> Trial:
    table, features, by_numpy, files = feature_folder(rng, folder)
    path = rng.choice(files)
    body = rng.randbytes(rng.choice((0, 320, 3200)))
    if rng.random() < 0.3:
        path.unlink()
        sparse(path, hostile_header(rng) + body, rng.choice((3, 50, 200)) << 30)
        return Trial(lambda: read(table, features))
    path.write_bytes(hostile_header(rng) + body)
    return judged(table, features, by_numpy)


@kind("features, values that are not finite", 2)
def not_finite(rng: Random, folder: Path) -> Trial:
    table, features, _, files = feature_folder(rng, folder)
    path = rng.choice(files)
    array = np.load(path)
    with np.errstate(all="ignore"):
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -np.inf))
    save(path, array)
    return Trial(lambda: read(table, features))


@kind("features, files gone, double, foreign or special", 4)
def folders(rng: Random, folder: Path) -> Trial:
    table, features, by_numpy, files = feature_folder(rng, folder)
    path, other = rng.sample(files, 2)
    change = rng.choice(("gone", "special", "special", "double", "other video", "loop", "dangling folder", "foreign",
                         "pickled", "renamed"))
    if change == "gone":
        path.unlink()
    elif change == "special":
        special(path, rng)
    elif change == "double":
        (features / "again").mkdir()
        shutil.copy(path, features / "again")
    elif change == "other video":
        shutil.copy(other, path)
        return judged(table, features, by_numpy)
    elif change == "renamed":
        path.rename(path.with_name(rng.choice(("x.npy", "a\nb.npy", "\udcff.npy", path.stem, f"{path.stem}__11.npy"))))
    elif change == "pickled":
        np.save(path, np.array([print, {}], object), allow_pickle=True)
    else:
        link = features / "zz"
        {"loop": lambda: link.symlink_to(features), "dangling folder": lambda: link.symlink_to(features / "nothing"),
         "foreign": lambda: (features / "Other.npy").write_bytes(rng.randbytes(50))}[change]()
        return judged(table, features, by_numpy)
    return Trial(lambda: read(table, features))


@kind("features, changed between check and read", 4)
def changing(rng: Random, folder: Path) -> Trial:
    """A file that is another one when it is read: refused, or read as it is now and as what was checked."""
    table, features, by_numpy, files = feature_folder(rng, folder)
    path, before = rng.choice(files), by_numpy()
    array = np.load(path)
    now = rng.choice(("cut", "gone", "special", "shape", "longer", "empty", "dtype", "width", "transposed"))

    def between() -> None:
        if now == "cut":
            os.truncate(path, rng.randrange(path.stat().st_size))
        elif now == "gone":
            path.unlink()
        elif now == "special":
            special(path, rng)
        elif now == "empty":
            path.write_bytes(b"")
        else:
            save(path, {"shape": array[:1], "longer": np.concatenate([array, array]), "dtype": array.astype(np.int64),
                        "width": array[..., :1], "transposed": np.ascontiguousarray(array.T)}[now])

    same = now == "shape" and len(array) == 1
    return Trial(lambda: read(table, features, between), equals(before) if same else None, output=features)


@kind("arrays, companions and ground truths", 4)
def arrays(rng: Random, folder: Path) -> Trial:
    """One .npy file that a user gives."""
    path, right = folder / "x.npy", np.random.default_rng(rng.randrange(2**32)).random((4, 8), np.float32)
    save(path, right)
    how = rng.choice((*DAMAGES, "header", "special", "sparse"))
    if how in DAMAGES:
        path.write_bytes(DAMAGES[how](path.read_bytes(), rng))
    elif how == "header":
        path.write_bytes(hostile_header(rng) + rng.randbytes(320))
    elif how == "special":
        special(path, rng)
    else:
        sparse(path, hostile_header(rng), rng.choice((3, 50, 200)) << 30)
    expected = None
    if path.is_file() and path.stat().st_size < 1 << 20:
        with contextlib.suppress(Exception), np.errstate(all="ignore"):
            expected = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if rng.random() < 0.5:
        return Trial(lambda: read_companions({"x": str(path)})["x"], expected is not None and (
            lambda found: found.shape == expected.shape and bool(np.all(found == expected.astype(found.dtype)))) or None)
    table, features, by_numpy, _ = feature_folder(rng, folder)
    frames = 16 * sum(math.ceil(count / 16) for count in FRAMES.values())
    if expected is not None and how in DAMAGES:  # a real one this time
        path.unlink()
        save(path, np.arange(frames) % 5 == 0)
        path.write_bytes(DAMAGES[how](path.read_bytes(), rng))
    return Trial(lambda: [item.abnormal_fraction for item in Dataset.open(table, features, ground_truth=path)],
                 lambda found: sum(map(len, found)) == frames // 16)


@cache
def report(folder: Path, seed: int) -> tuple[Report, dict[str, bytes]]:
    """A report, and its two files."""
    table, features, _, _ = feature_folder(Random(seed), folder)
    detector = cases.detector(*SETTINGS, "numpy")
    made = wv.evaluate(detector, Dataset.open(table, features, feature_dim=DIM), replicates=5)
    made.save(folder / "report")
    files = {path.name: path.read_bytes() for path in (folder / "report").iterdir()}
    shutil.rmtree(features)
    shutil.rmtree(folder / "report")
    return made, files


@kind("report, damaged", 8)
def damaged_report(rng: Random, folder: Path) -> Trial:
    made, files = report(folder, 0)
    _, others = report(folder, 1)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    path = folder / rng.choice(list(files))
    how = rng.choice((*DAMAGES, *DAMAGES, "values", "special", "other", "sparse", "gone"))
    if how in DAMAGES:
        path.write_bytes(DAMAGES[how](path.read_bytes(), rng))
    elif how == "values":
        (folder / "report.json").write_text(hostile_json(json.loads(files["report.json"]), rng))
    elif how == "special":
        special(path, rng)
    elif how == "other":
        path.write_bytes(others[path.name])
    elif how == "sparse":
        sparse(path, files[path.name][:rng.randrange(2000)], rng.choice((3, 200)) << 30)
    else:
        path.unlink()
    return Trial(lambda: Report.load(folder), equals(made))


def hostile_json(values: Any, rng: Random) -> str:
    """JSON text with one value in it replaced by another."""
    paths: list[tuple] = []

    def walk(value: Any, path: tuple) -> None:
        paths.append(path)
        for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            walk(below, (*path, key))

    walk(values, ())
    path = rng.choice(paths)
    hostile = rng.choice(("null", "[]", "{}", "1e999", "NaN", "-1", "0", "true", '"x"', '""', "[" * 3000, "9" * 5000,
                          '{"a":' * 2000,
                          '"\\u0000"', '"\\ud800"', "[null]", '{"a": {"a": {}}}', "1e-400",
                          "123456789012345678901234567890"))
    if not path:
        return hostile
    copied = json.loads(json.dumps(values))
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@hostile@"
    return json.dumps(copied).replace('"@hostile@"', hostile)


@kind("report, archive of arrays that is crafted", 3)
def crafted_archive(rng: Random, folder: Path) -> Trial:
    """scores.npz with another member, compressed without end or under another name, and its right hash."""
    import hashlib

    _, files = report(folder, 0)
    data = io.BytesIO()
    stored = zipfile.ZipFile(io.BytesIO(files["scores.npz"]))
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive, stored as own:
        names = own.namelist()
        victim = rng.choice(names)
        for name in names:
            content = own.read(name) if name != victim else rng.choice((
                hostile_header(rng) + bytes(1000), hostile_header(rng) + bytes(1 << 20), b"", rng.randbytes(300)))
            archive.writestr(rng.choice((name, name, f"../{name}", f"/{name}")) if name == victim else name, content)
    values = json.loads(files["report.json"])
    values["scores_sha256"] = hashlib.sha256(data.getvalue()).hexdigest()
    (folder / "scores.npz").write_bytes(data.getvalue())
    (folder / "report.json").write_text(json.dumps(values))
    return Trial(lambda: Report.load(folder))
