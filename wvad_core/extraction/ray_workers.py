"""Videos handed to the workers of a Ray cluster, one worker a device, each video to one that is free.

Workers read and write the same files as this process: videos, checkpoint and folder are on a file system that all nodes have.
"""
from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints import formats
from ..errors import Failure, InputError, one_line
from ..extractor import Extractor
from ..video.opening import ADDRESS
from ..video.recipe import Recipe
from .extracting import Outcome, begun, extract, extractor_of, origin, versions
from .feature_folder import FeatureFolder
from .pace import Pace
from .videos import sizes

LOGGER = logging.getLogger("wvad")
ATTEMPTS = 3
"""Workers that may die of one video, or while they start, before that counts as its fault."""
ACCELERATORS = {"GPU": {"num_gpus": 1}, "NPU": {"resources": {"NPU": 1}}}
"""{what Ray calls a device: what a worker asks for to have one}."""


@dataclass(frozen=True)
class Job:
    """What a worker extracts by. device: as all of them call their own. path, origin: of the folder."""
    checkpoint: Path
    backend: str
    device: str
    recipe: Recipe
    path: Path
    origin: Mapping[str, Any]

    @classmethod
    def of(cls, extractor: Extractor[Any], recipe: Recipe, folder: FeatureFolder, checkpoint: Path, device: str) -> Job:
        """extractor: one like those of the workers. checkpoint: that it is of."""
        return cls(checkpoint.absolute(), extractor.backend_name, device, recipe, folder.path.absolute(), folder.origin)


class Worker:
    """One process of the cluster."""

    def __init__(self, job: Job):
        self._job = job

    def start(self) -> None:
        """Load the extractor. Raises InputError where that cannot be, or is another one than the folder is of."""
        job, of = self._job, self._job.origin
        self._extractor = extractor_of(job.recipe, formats.read(job.checkpoint)[1], str(job.checkpoint), job.backend, job.device,
                                       of["precision"])
        made = origin(self._extractor, job.recipe, of["recipe"], of["layout"], of["dtype"])
        self._folder = FeatureFolder(job.path, made, versions(self._extractor))

    def extract(self, name: str, source: str) -> Outcome:
        """Extract one video. Raises what `extracting.extract` does."""
        return extract({name: source}, self._extractor, self._job.recipe, self._folder, hidden=True)


def extract_on_ray(videos: Mapping[str, str], job: Job, folder: FeatureFolder, address: str) -> Outcome:
    """Extract the features of all videos that are not there on the cluster at `address`, as `extracting.extract` does here.

    address: "local", which starts one on this machine; "auto", which looks for a running one; or HOST:PORT. A video whose
    worker or node dies goes to another worker, and counts as bad with the last of ATTEMPTS. Raises Failure and InputError as
    `extract`, and where Ray is missing, or no cluster or device is there.
    """
    with folder.shared(), Pace("extracting", sizes(videos)) as pace, _connected(address) as ray:
        outcome = begun(videos, folder, pace.advance)
        waiting = {name: _everywhere(videos[name]) for name in videos if name not in outcome.there}
        for name, made in _handed_out(ray, waiting, job):
            for kind in ("extracted", "shared", "there"):
                getattr(outcome, kind).extend(getattr(made, kind))
            outcome.failed.update(made.failed)
            pace.advance(name, 1, made.frames)
            for line in [made.failed[name]] if name in made.failed else folder.videos(name)[name]["remarks"]:
                LOGGER.log(logging.WARNING if made.failed else logging.INFO, "%s: %s", name, line)
    outcome.frames, outcome.seconds = pace.frames, pace.seconds
    return outcome


def _handed_out(ray: Any, videos: Mapping[str, str], job: Job) -> Iterator[tuple[str, Outcome]]:
    """Have the cluster extract videos; what came of each, as it comes."""
    waiting, deaths, calls = list(reversed(videos)), Counter(), {}  # calls: {reference: (worker, what it asks for, name, or "")}

    def start(asked: dict[str, Any]) -> None:
        worker = ray.remote(Worker).options(**asked).remote(job)
        calls[worker.start.remote()] = worker, asked, ""

    for asked in _devices(ray, job.device)[:len(videos)]:
        start(asked)
    while waiting or any(name for *_, name in calls.values()):
        (reference, *_), _ = ray.wait(list(calls))
        worker, asked, name = calls.pop(reference)
        try:
            made = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # the process, or its node, died, or cannot be reached
            ray.kill(worker)
            deaths[name] += 1
            LOGGER.warning("%sa worker died (%s)", f"{name}: " if name else "", one_line(error, 120))
            if deaths[name] < ATTEMPTS:
                waiting += [name] if name else []
            elif name:
                yield name, Outcome(failed={name: f"{ATTEMPTS} workers died while they extracted it"})
            else:
                raise Failure(f"{ATTEMPTS} workers died before they could begin ({one_line(error, 120)})") from None
            start(asked)
            continue
        if name:
            yield name, made
        if waiting:
            name = waiting.pop()
            calls[worker.extract.remote(name, videos[name])] = worker, asked, name


def _devices(ray: Any, device: str) -> list[dict[str, Any]]:
    """What a worker of each device asks for: of each accelerator of the cluster; where there is none, or `device` is cpu, of
    each node's cores. Raises InputError where there is nothing of what is asked."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if ":" in device:
        raise InputError(f"--device {device} with --ray, expected auto, cpu, cuda or ascend: Ray says which one a worker gets")
    for name, asked in ACCELERATORS.items() if device != "cpu" else ():
        if count := int(sum(node.get(name, 0) for node in nodes)):
            return count * [asked]
    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device}: the Ray cluster has none of {', '.join(ACCELERATORS)}, expected one")
    if not (cores := [node["CPU"] for node in nodes if node.get("CPU", 0) >= 1]):
        raise InputError("the Ray cluster has no cores, expected some")
    return [{"num_cpus": count} for count in cores]


def _everywhere(source: str) -> str:
    """A path or an address as other processes take it."""
    return source if ADDRESS.match(source) else os.path.abspath(source)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster. Raises InputError where that cannot be."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise InputError('--ray needs Ray, which cannot be imported: pip install "wvad[ray]"') from error
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere that nobody asked for
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, OSError, RuntimeError) as error:
        raise InputError(f"--ray {address}: no cluster there ({one_line(error, 160)}), expected local, auto or HOST:PORT") from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray sets its own
        yield ray
    finally:
        ray.shutdown()
