"""A folder that features are extracted into, by one process or by several at once.

    NAME.npy                  (T, N, D), or (T, D) where there is one crop; or, in the layout "crops",
    NAME__0.npy, ...          a crop each, (T, D)
    features.json             {"origin": what the features are made by, "versions": of which packages,
                              "videos": {NAME: frames, snippets, frame rate, remarks}}
    .lock, .claims/           who writes features.json, who is at work here and on which video, and what is wrong with videos

Both layouts are ones that features are published in, and `wvad_core.data` reads. Every file is written whole or not at all. A
video is done when features.json has it and its files are there, which are written first. Locks end with their process, however
that ends, so that what a killed one had claimed is taken up by the next. What is wrong with a video is known until the last
of the processes that are here at the same time has left: the next ones try it again.
"""
from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..data.origins import FILE as ORIGIN
from ..data.origins import read
from ..data.reading import read_features
from ..data.video_features import header
from ..errors import InputError, one_line
from ..files import cannot_write, leftovers, lock_file, write_json, written_whole
from .growing_array import GrowingArray

LOCK, CLAIMS = ".lock", ".claims"
PRESENT, FAILED = ".present", ".failed"
"""Suffixes in CLAIMS: of a process's lock, and of what is wrong with a video."""
LAYOUTS = ("video", "crops")
DTYPES = ("float32", "float16")


class FeatureFolder:
    """Opening one makes it where it is not there.

    origin: what its features are made by, plain data, with the words "layout" and "dtype". versions: {package: version}.
    Raises InputError for a folder of another origin, with what differs, and for one that has features without an origin.
    """

    def __init__(self, path: Path, origin: Mapping[str, Any], versions: Mapping[str, str]):
        self.path, self.origin = path, json.loads(json.dumps(origin))
        try:
            (path / CLAIMS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        with self._locked():
            for file in leftovers(path / ORIGIN):
                file.unlink(missing_ok=True)
            if (path / ORIGIN).exists():
                self._check_origin(self._read().get("origin"))
            elif found := next(path.glob("*.npy"), None):
                raise InputError(f"{path}: has {found.name} and no {ORIGIN}, expected an empty folder, or one that features were "
                                 "extracted into")
            else:
                write_json(path / ORIGIN, {"origin": self.origin, "versions": dict(versions), "videos": {}})

    def videos(self, *names: str) -> dict[str, Any]:
        """What is known of the videos that are there, by name: of all, or of these alone, of which alone files are looked at."""
        known = self._read()["videos"]
        return {name: known[name] for name in names or known if name in known and self._is_whole(name, known[name])}

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be one of those at work here, for the block, so that `failures` are known to all of them until the last one leaves."""
        own = lock_file(self.path / CLAIMS / f"{uuid.uuid4().hex}{PRESENT}")
        with self._locked():
            self._forget()
            own.acquire()
        try:
            yield
        finally:
            with self._locked():
                _give_back(own)
                self._forget()

    def _forget(self) -> None:
        """Forget all failures, unless somebody is at work here. To be called with the lock held."""
        from filelock import Timeout

        for path in (self.path / CLAIMS).glob(f"*{PRESENT}"):
            lock = lock_file(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return
            _give_back(lock)  # of a process that was killed
        for path in (self.path / CLAIMS).glob(f"*{FAILED}"):
            path.unlink(missing_ok=True)

    def fail(self, name: str, error: str) -> None:
        """Tell those who are at work here what is wrong with a video, which is claimed."""
        write_json(self._claim(name, FAILED), {"video": name, "error": error})

    def failures(self) -> dict[str, str]:
        """{video: what is wrong with it} of those that somebody who is at work here has tried."""
        notes = [json.loads(path.read_bytes()) for path in sorted((self.path / CLAIMS).glob(f"[!.]*{FAILED}"))]
        return {note["video"]: note["error"] for note in notes}

    def _claim(self, name: str, suffix: str) -> Path:
        return self.path / CLAIMS / (hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32] + suffix)

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Claim a video for the block, unless another process has; whether it is ours. Whoever has it looks again whether it is
        done: it may have been when the claim before was given back."""
        lock = lock_file(self._claim(name, ".lock"))
        from filelock import Timeout

        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            yield True
        finally:
            _give_back(lock)  # who waits for its file gets it, and finds that all is done

    @contextmanager
    def written(self, name: str, crops: int) -> Iterator[Callable[[np.ndarray], None]]:
        """Give a function that takes the features of one snippet after the other, (N, D), of a claimed video. Its files appear
        when the block ends well. Raises InputError for features that are not finite in the files' type."""
        paths, dtype = self._paths(name, crops), self.origin["dtype"]
        for file in (file for path in paths for file in leftovers(path)):
            file.unlink(missing_ok=True)
        with ExitStack() as stack:
            arrays = [stack.enter_context(GrowingArray(stack.enter_context(written_whole(path)), dtype)) for path in paths]

            def append(features: np.ndarray) -> None:
                with np.errstate(over="ignore"):
                    rows = features.astype(dtype)
                if not np.isfinite(rows).all():
                    raise InputError(f"{name}: features of snippet {arrays[0].length} are not finite in {dtype}")
                for array, row in zip(arrays, rows if len(paths) > 1 or crops == 1 else rows[None]):
                    array.append(row)

            yield append

    def features(self, name: str, crops: int) -> np.ndarray:
        """Those of a video that is there, (N, T, D) float32. Raises InputError."""
        paths = self._paths(name, crops)
        return read_features(paths[0], crops) if len(paths) == 1 else np.concatenate([read_features(path, 1) for path in paths])

    def record(self, name: str, about: Mapping[str, Any]) -> None:
        """Note a video whose files are written."""
        with self._locked():
            known = self._read()
            known["videos"] = dict(sorted({**known["videos"], name: dict(about)}.items()))
            write_json(self.path / ORIGIN, known)

    def _paths(self, name: str, crops: int) -> list[Path]:
        if self.origin["layout"] == "video":
            return [self.path / f"{name}.npy"]
        return [self.path / f"{name}__{crop}.npy" for crop in range(crops)]

    def _is_whole(self, name: str, about: Any) -> bool:
        """Whether the files of a video are there, with as many snippets as they were written with."""
        try:
            paths = self._paths(name, about["crops"])
            return all(path.exists() and header(path)[0] == about["snippets"] for path in paths)
        except (TypeError, KeyError):
            return False

    def _check_origin(self, found: Any) -> None:
        if not isinstance(found, dict):
            raise InputError(f"{self.path / ORIGIN}: has no origin, expected what an extraction wrote")
        for key in {**self.origin, **found}:
            if found.get(key) != self.origin.get(key):
                raise InputError(f"{self.path}: has features of another origin, {key} {one_line(found.get(key), 160)}, expected "
                                 f"{one_line(self.origin.get(key), 160)}; another folder takes these")

    def _read(self) -> dict[str, Any]:
        return read(self.path / ORIGIN)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of features.json, for which one waits: it is held for the time that a write takes."""
        lock = lock_file(self.path / LOCK)
        try:
            lock.acquire()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            yield
        finally:
            lock.release()


def _give_back(lock: Any) -> None:
    """Release a lock that is held, and remove its file."""
    with suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()
