"""pixel_means.py as an extractor that has processes killed by SIGKILL, as KILLING=WHAT:FILE in the environment says.

process    the one that computes the second snippet of its first video; once: FILE appears with it
node       the same with the node of a Ray cluster that it is on, but for the one whose ID is in FILE.head, which waits for that
white      each that computes a snippet of one colour
"""
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pixel_means
from pixel_means import clip_sizes, infer, parameters  # noqa: F401

NAME = "killing"
_snippets = 0


@dataclass(frozen=True)
class Config(pixel_means.Config):
    pass


def forward(clips, p, config):
    global _snippets
    _snippets += 1
    what, _, file = os.environ.get("KILLING", "").partition(":")
    if what == "white" and clips.min() == clips.max():
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "node" and on_node(Path(f"{file}.head").read_text()):
        while not Path(file).exists():
            time.sleep(0.1)
    elif what in ("process", "node") and _snippets == 2 and not Path(file).exists():
        Path(file).touch()
        if what == "node":
            os.kill(os.getppid(), signal.SIGKILL)  # what started this worker stands for the node
        os.kill(os.getpid(), signal.SIGKILL)
    return pixel_means.forward(clips, p, config)


def on_node(name):
    import ray

    return ray.get_runtime_context().get_node_id() == name
