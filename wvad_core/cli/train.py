"""`wvad train`: train a detector by a recipe, into a run folder."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import wvad_core as wv

from ..backend import find_backend
from ..data import bundled_tables, demo, load_table
from ..data.companions import parse_companions
from ..errors import Terminated
from ..files import write_json
from ..registry import module_name, specification
from ..reports import pictures
from ..reports.text import percent
from ..reports.training_curves import training_curves
from ..training import experiment, planning
from ..training.loop import Stop
from ..training.overrides import parse
from ..training.planning import Plan
from ..training.run_files import BEST, CURVES, LAST, REPORT, STATE, is_taken
from . import options, process
from .test import BY_DEFAULT

SHOWN = ("auc", "ap", "auc_sub", "ap_sub")
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GLOG_v": "3"}
"""For the process as a whole. Where other programs use the cores too, OpenMP's busy waiting makes small networks ten times
as slow; MindSpore's compiler warns on stderr of nodes that it leaves out."""

DESCRIPTION = """Train a detector by a recipe, into a run folder, or go on with a run that was stopped.

KEY=VALUE words override values of the recipe (steps, videos, learning_rate, select, ...), of its
groups and of the method's configuration (feature_dim, ...)."""

EXAMPLES = """
examples:
  %(prog)s --method METHOD --dataset demo --seeds 5 steps=200 learning_rate=1e-3
  %(prog)s --method METHOD --dataset xd-violence --features i3d --output runs/first
  %(prog)s --method METHOD --dataset own.csv --features own select=holdout
  %(prog)s --resume runs/first steps=2000
  torchrun --nproc_per_node 8 $(which wvad) train --method METHOD --dataset ucf-crime --features i3d

A run folder gets best.safetensors, last.safetensors, their reports in best/ and last/, recipe.json,
history.jsonl, report.json, curves.png, and TensorBoard's event files where tensorboardX is
installed. Exit status: 2 for bad input, 1 for a failure such as a full disk, 130 for SIGINT, 143
for SIGTERM, which ends a run with all saved for --resume."""


def main(argv: Sequence[str], prog: str = "wvad train") -> None:
    arguments = parser(prog).parse_intermixed_args(argv)
    options.set_log_level(arguments)
    begun_as = None
    if arguments.resume:
        folder, (begun_as, plan) = arguments.resume, resumed(arguments)
    else:
        plan = planned(arguments)
        folder = arguments.output or Path("runs", f"{plan.method}_{Path(plan.dataset).stem}_{plan.backend}")
        check_new(folder)
    first = find_backend(plan.backend).join(plan.device)[0] == 0
    say = partial(print, flush=True) if first and not arguments.quiet else (lambda line: None)
    say(heading(plan, folder, arguments))
    if arguments.seeds == 1:
        reports = [trained(plan, folder, say, begun_as, arguments.force)]
    else:
        reports = [trained(replace(plan, options=replace(plan.options, seed=seed)), folder / f"seed-{seed}", say,
                           force=arguments.force)
                   for seed in range(plan.options.seed, plan.options.seed + arguments.seeds)]
        if first:
            write_json(folder / REPORT, {"seeds": [r["seed"] for r in reports], **spread(reports)})
    if first:
        print(table(reports))
    say(f"\nwritten to {folder}: {REPORT}, "
        + (f"{BEST}, {LAST}, ..." if arguments.seeds == 1 else "and a run in each folder seed-N"))


def trained(plan: Plan, folder: Path, say: Callable[[str], None], begun_as: Plan | None = None,
            force: bool = False) -> dict[str, Any]:
    """Train by a plan; the report. Draws the curves, where matplotlib is installed. SIGTERM ends it with all saved."""
    first, stop = find_backend(plan.backend).processes()[0] == 0, Stop()

    def on_signal(*_: Any) -> None:
        stop.asked = True
        if not stop.heeded:
            raise Terminated

    with process.on_sigterm(on_signal):
        return experiment.run(plan, folder, say, begun_as, stop,
                              lambda result: draw(result, folder, say) if first else None, force).report


def draw(result: experiment.TrainingResult, folder: Path, say: Callable[[str], None]) -> None:
    """Write the curves, where matplotlib is installed."""
    plan = result.plan
    detail = f"recipe of {plan.recipe_of}, {plan.backend}, seed {plan.options.seed}"
    try:
        pictures.write(training_curves(result.history, f"Training of {plan.method} on {plan.dataset}", detail,
                                       result.report["best"]["validated_by"],
                                       specification(plan.method).loss_weights(plan.config)), folder / CURVES)
    except ImportError as error:
        say(f"no {CURVES}, {error}")


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES, usage="%(prog)s [OPTION ...] [KEY=VALUE ...]")
    parser.add_argument("--method", metavar="METHOD", help="of `wvad methods`; default, on the demo alone: its smallest")
    parser.add_argument("--dataset", metavar="NAME",
                        help=f"{', '.join(bundled_tables())}, or a CSV table; default: demo")
    parser.add_argument("--features", type=Path, metavar="DIR", help="folder of the features; the demo has its own")
    parser.add_argument("--backend", metavar="NAME",
                        help=f"one that trains; default: {options.DEFAULT_BACKEND}")
    parser.add_argument("--device", default="auto", help="cpu, cuda:0, ascend:0, ...; default: auto")
    parser.add_argument("--recipe", metavar="NAME", help="of this dataset; default: that of --dataset, else the method's first")
    parser.add_argument("--init", type=Path, metavar="FILE",
                        help="fine-tune this checkpoint: begin with its tensors, where they fit")
    options.add_companion(parser, "an array of the dataset, such as the features of texts")
    options.add_force(parser, "train on features of another origin than --init was, or than the test set's")
    parser.add_argument("--seeds", type=int, default=1, metavar="N",
                        help="train so many times, with the recipe's seed and those that follow it")
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--output", type=Path, metavar="RUN", help="run folder; default: one named after all this in runs/")
    folder.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder; with steps=N to more steps")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="values of the recipe and of the configuration")
    return parser


def planned(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for. Raises InputError, for what no file is needed to tell before any is read."""
    dataset = arguments.dataset or planning.DEMO
    if not arguments.method and dataset != planning.DEMO:
        raise wv.InputError(f"--method is missing, expected one of {', '.join(wv.list_methods())}")
    if arguments.seeds < 1:
        raise wv.InputError(f"--seeds {arguments.seeds}, expected 1 or more")
    method = arguments.method or demo.default_method()
    module_name(method)
    load_table(dataset)
    return planning.plan(method, dataset, arguments.features, arguments.backend or options.default_backend("torch"),
                         arguments.device, parse(arguments.overrides), arguments.recipe, arguments.init,
                         parse_companions(arguments.companion))


def resumed(arguments: argparse.Namespace) -> tuple[Plan, Plan]:
    """The plan that a run was begun by, and the one that it goes on by: on another device, or to another number of steps."""
    given = parse(arguments.overrides)
    others = (arguments.method, arguments.init, arguments.companion, arguments.recipe, arguments.output, given.keys() - {"steps"})
    if any(others) or arguments.seeds != 1:
        raise wv.InputError("--resume goes on with a run as it was begun; it takes no method, no seeds, no recipe, no output, no "
                            "checkpoint, no companion and no KEY=VALUE but steps=N, to go on for longer; --dataset and --features "
                            "say where the same data now are")
    begun_as = planning.read_plan(arguments.resume)
    if arguments.backend not in (None, begun_as.backend):
        raise wv.InputError(f"{arguments.resume}: was begun on backend {begun_as.backend}, not {arguments.backend}; expected the same")
    begun_as, goes_on = planning.going_on(begun_as, arguments.device, arguments.dataset, arguments.features)
    return begun_as, planning.with_steps(goes_on, given["steps"]) if given else goes_on


def check_new(folder: Path) -> None:
    """Raise InputError unless a run can begin in a folder; the first of several processes decides."""
    if not process.is_first():
        return
    if is_taken(folder):
        saved = [state.parent for state in sorted((folder / STATE, *folder.glob(f"*/{STATE}"))) if state.exists()]
        goes_on = f"--resume {saved[0]} goes on with it" if saved else "it holds no run to go on with"
        raise wv.InputError(f"{folder}: is there already; {goes_on}, --output RUN begins another")
    options.check_writable(folder)


def spread(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """{"best", "last": {metric: {"mean", "std"}}}, the standard deviation that of a sample."""
    found: dict[str, Any] = {}
    for kind in ("best", "last"):
        values = {name: [report[kind]["metrics"][name] for report in reports] for name in reports[0][kind]["metrics"]}
        found[kind] = {name: {"mean": np.mean(v), "std": np.std(v, ddof=1) if len(v) > 1 else None}
                       for name, v in values.items()}
    return found


def heading(plan: Plan, folder: Path, arguments: argparse.Namespace) -> str:
    """What is about to run, in a few lines; of what nobody chose, why."""
    recipe, begins = plan.recipe, not arguments.resume
    batch = f"{recipe.videos} + {recipe.videos} videos" if recipe.batches == "halves" else f"{recipe.videos} items"
    chosen = f" ({BY_DEFAULT}; --method takes another)" if begins and not arguments.method else ""
    default = f" ({options.DEFAULT_BACKEND})" if begins and not arguments.backend else ""
    why = "" if arguments.recipe or plan.recipe_of == plan.dataset or not begins else (
        f" (there is none for {plan.dataset}; --recipe takes another)")
    lines = (("method", plan.method + chosen),
             ("backend", f"{plan.backend}, device {plan.device}, {plan.options.precision}{default}"),
             ("dataset", f"{plan.dataset}, features {plan.features or 'of its own'}"),
             ("begins as", str(plan.initial or "")), ("companions", ", ".join(map("=".join, plan.companions.items()))),
             ("recipe of", plan.recipe_of + why),
             ("recipe", f"{recipe.steps} steps a stage of {batch}, {recipe.segments} "
                        f"segments, learning rate {recipe.learning_rate:g}, seed {plan.options.seed}"),
             ("best", f"by select={plan.options.select}, every {plan.options.evaluate_every} steps"), ("run folder", str(folder)))
    return "\n".join(f"{name:<12}{value}" for name, value in lines if value)


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Best and last side by side, in percent, with the step and the validation; over several seeds with mean and deviation."""
    lines = ["", f"{'':<24}" + "".join(f"{name:>16}" for name in ("validation", *SHOWN))]
    for kind in ("best", "last"):
        for report in reports:
            entry = report[kind]
            values = "".join(f"{percent(value):>16}" for value in (entry["validation"], *map(entry["metrics"].get, SHOWN)))
            seed = f"   seed {report['seed']}" if len(reports) > 1 else ""
            lines.append(f"{kind + ', step ' + str(entry['step']):<24}{values}{seed}")
        if len(reports) > 1:
            found = spread(reports)[kind]
            lines.append(f"{kind + ', mean and std':<40}" + "".join(
                f"{percent(found[name]['mean']) + ' ± ' + percent(found[name]['std']):>16}" for name in SHOWN))
    return "\n".join([*lines, "", f"validated by the {reports[0]['best']['validated_by']}; {reports[0]['selected']}"])
