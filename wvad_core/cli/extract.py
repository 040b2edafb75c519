"""`wvad extract`: features of videos, into a folder that training and scoring read."""
from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import wvad_core as wv

from ..backend import find_backend
from ..checkpoints import formats
from ..data.features import SUFFIXES as NAME_SUFFIXES
from ..errors import Failure, listing
from ..extraction.causes import NEAR, VIDEOS, explained
from ..extraction.comparison import Likeness, measure
from ..extraction.extracting import Outcome, extract, extractor_of, origin, versions
from ..extraction.feature_folder import DTYPES, LAYOUTS, FeatureFolder
from ..extraction.ray_workers import Job, extract_on_ray
from ..extraction.videos import find_videos
from ..extractor import Extractor
from ..files import write_json
from ..registry import EXTRACTORS
from ..scoring.inputs import find_inputs
from ..video.recipe import Recipe, find_recipe, recipes
from . import options, process

LOGGER = logging.getLogger("wvad")
ENVIRONMENT = {"GLOG_v": "3", **process.threads()}
DESCRIPTION = """Extract snippet features of videos, into a folder that `wvad train` and `wvad test` read.

A recipe says how frames become what the network takes: that of published features, or one of your
own in a file (docs/video.md). The default is the first that the extractor has."""

EXAMPLES = """
examples:
  %(prog)s videos --extractor i3d-resnet50 --checkpoint i3d_r50.pth --output i3d
  %(prog)s a.mp4 b.mp4 --recipe own.toml --checkpoint c3d.pickle --output c3d --dtype float16
  %(prog)s videos --recipe roc-ng --checkpoint rgb_imagenet.pt --output i3d --compare released

VIDEO is a file, a folder of videos, a folder of pictures, or an address. The output folder gets
NAME.npy, (snippets, crops, D), of each video, or NAME__0.npy ... of each crop, and features.json:
extractor, weights, recipe, frames. Files are whole or absent: a run that was stopped goes on when
started again; several share the videos of one folder (docs/parallel.md: torchrun, msrun, Ray). A
bad video is left out. Exit status: 2 for bad input, 1 where one is left out or the disk is full."""


def main(argv: Sequence[str], prog: str = "wvad extract") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    if arguments.json and not arguments.compare:
        raise wv.InputError("--json writes what --compare finds, expected both")
    name, recipe = chosen_recipe(arguments.extractor, arguments.recipe)
    layout = chosen_layout(arguments.layout, recipe)
    videos = find_videos(arguments.videos)
    options.check_writable(arguments.output)
    extractor = opened(arguments, recipe)
    folder = FeatureFolder(arguments.output, origin(extractor, recipe, name, layout, arguments.dtype), versions(extractor))
    if process.is_first() and not arguments.quiet:
        print(f"{extractor}\nrecipe {name}, {len(videos)} videos", flush=True)
    if arguments.ray:
        outcome = extract_on_ray(videos, Job.of(extractor, recipe, folder, arguments.checkpoint, arguments.device), folder,
                                 arguments.ray)
    else:
        with folder.shared():
            extractor.backend.gather(np.zeros(1, np.float32))  # all are here before the first of them may leave
            outcome = extract(videos, extractor, recipe, folder, hidden=not process.is_first())
    if not process.is_first():
        return  # the first one says what came of all
    if arguments.compare:
        done = {name: videos[name] for name in sorted({*outcome.extracted, *outcome.shared, *outcome.there})}
        found = []
        for *pair, source in pairs(folder, done, arguments.compare):
            tried = sum(one.distance > NEAR for one in found)
            found.append(explained(*pair, source if tried < VIDEOS else None, recipe, extractor))
            print(found[-1].text(), flush=True)
        if arguments.json:
            write_json(arguments.json, {"compared_with": str(arguments.compare), "videos": [one.as_dict() for one in found]})
    report(outcome, arguments.output)


def opened(arguments: argparse.Namespace, recipe: Recipe) -> Extractor[Any]:
    """The extractor, on the device of this process, which joins the others that its launcher has started. On a Ray cluster it
    is the workers' that extracts: this one says what they extract by, and computes in float32 on the CPU."""
    backend = arguments.backend or options.default_backend("numpy")
    device, precision = ("cpu", "float32") if arguments.ray else (arguments.device, arguments.precision)
    find_backend(backend).join(device)
    contents = formats.read(arguments.checkpoint)[1]
    made = extractor_of(recipe, contents, str(arguments.checkpoint), backend, device, precision)
    return replace(made, precision=arguments.precision)


def pairs(folder: FeatureFolder, videos: Mapping[str, str], other: Path) -> Iterator[tuple[Likeness, np.ndarray, np.ndarray,
                                                                                          int | None, str]]:
    """What `explained` takes of each video, one read after the other. Raises InputError where the other folder has none of them."""
    own, given = ({made.name.removesuffix(suffix): made for suffix in reversed(NAME_SUFFIXES) for made in find_inputs([str(path)])}
                  for path in (folder.path, other))
    missing = [name for name in videos if name not in given]
    if len(missing) == len(videos):
        raise wv.InputError(f"{other}: has features of {listing(list(given), 3)}, expected some of {listing(list(videos), 3)}".replace(
            "\n  ", ", "))
    for name in missing:
        LOGGER.warning("%s: not in %s", name, other)
    about = folder.videos()
    for name in (name for name in videos if name in given):
        if flaw := given[name].flaw or own[name].flaw:
            LOGGER.warning("%s: %s", name, flaw)
            continue
        arrays = [made[name].features.read() for made in (own, given)]
        yield measure(name, *arrays), *arrays, about[name].get("frames"), videos[name]


def report(outcome: Outcome, folder: Path) -> None:
    """Say what came of it. Raises Failure where a video is left out."""
    made = len(outcome.extracted) + len(outcome.shared)
    others = f", {len(outcome.shared)} of them by other processes" if outcome.shared else ""
    there = f", {len(outcome.there)} were there" if outcome.there else ""
    speed = f"; {outcome.frames} frames in {outcome.seconds:.1f} s" if made else ""
    print(f"extracted {made} videos{others}{there}{speed}: {folder}")
    if outcome.failed:
        total = made + len(outcome.there) + len(outcome.failed)
        lines = [f"{name}: {error}" for name, error in outcome.failed.items()]
        raise Failure(f"{len(lines)} of {total} videos could not be extracted\n  {listing(lines, len(lines))}")


def chosen_recipe(extractor: str | None, name: str | None) -> tuple[str, Recipe]:
    """The recipe and what it is called. Raises InputError where neither is given, or one is not of the other."""
    if extractor:
        EXTRACTORS.check_name(extractor)
    if name is None:
        name = next((name for name, recipe in recipes().items() if recipe.extractor == extractor), None)
        if name is None:
            raise wv.InputError("--recipe is missing" + (f": no published one is of {extractor}" if extractor else ""))
    recipe = find_recipe(name)
    if extractor not in (None, recipe.extractor):
        raise wv.InputError(f"--recipe {name} is of {recipe.extractor}, expected one of --extractor {extractor}")
    return Path(name).stem, recipe


def chosen_layout(layout: str | None, recipe: Recipe) -> str:
    """One file a video where its crop axis is known again: of 1 or 10 crops; else a file a crop."""
    if layout == "video" and recipe.count not in (1, 10):
        raise wv.InputError(f"--layout video with {recipe.count} crops, expected 1 or 10: other files of three axes may be read in "
                            "another order")
    return layout or ("video" if recipe.count in (1, 10) else "crops")


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s VIDEO ... --checkpoint FILE --output DIR [OPTION ...]")
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="a file, a folder or an address")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the extractor's, in any format")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the features")
    parser.add_argument("--extractor", metavar="NAME", help="default: the recipe's")
    parser.add_argument("--recipe", metavar="NAME", help=f"{', '.join(recipes())}, or a file; default: the extractor's first")
    parser.add_argument("--layout", choices=LAYOUTS, help="a file a video, or a crop; default: a video where it has 1 or 10 crops")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help=f"of the numbers; default: {DTYPES[0]}")
    parser.add_argument("--compare", type=Path, metavar="DIR", 
                        help="say how near these features are to others of the same videos, and what makes the difference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what --compare finds")
    parser.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster: local, auto or HOST:PORT")
    parser.add_argument("--backend", metavar="NAME", help=f"default: {options.DEFAULT_BACKEND}")
    parser.add_argument("--device", default="auto", help="cpu, cuda:0, ascend:0, ...; default: auto")
    parser.add_argument("--precision", default="float32", metavar="NAME", help="float32, or bf16 where the backend has it")
    return parser
