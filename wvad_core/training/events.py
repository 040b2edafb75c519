"""TensorBoard's event files of a run, the same for all frameworks; written by tensorboardX, where it is installed.

    loss/total, loss/TERM       of each step, before it
    rate/base, rate/GROUP       the learning rates of the step: of what is in no group, and of each group that has begun
    validation/METRIC           what the best weights are chosen by
    plan                        a text: all of recipe.json, hyperparameters included

Steps are counted from 1 through all stages.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .recipe import Recipe


class Events:
    """The event files in a run's folder. Does nothing where tensorboardX is not installed.

    steps: how many a resumed run has taken; what event files have behind them no longer counts. A new run, of 0 steps,
    removes the event files of another one. recipe: its rates are written, if it is given. metric: that of `validation/`.
    """

    def __init__(self, folder: Path, steps: int, plan: Mapping[str, Any], recipe: Recipe | None, metric: str) -> None:
        self.recipe, self.metric, self.writer = recipe, metric, None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            return
        for old in folder.glob("events.out.tfevents.*") if not steps else ():
            old.unlink()
        self.writer = SummaryWriter(str(folder), purge_step=steps + 1 if steps else None)
        if not steps and plan:
            self.writer.add_text("plan", "".join(f"    {line}\n" for line in json.dumps(plan, indent=2).splitlines()), 0)

    def record(self, line: Mapping[str, Any], step: int) -> None:
        """Write a line of the history. step: counted through all stages, as `line` counts it within its own."""
        if self.writer is None:
            return
        values = {f"loss/{name}": value for name, value in line.items() if name not in ("stage", "step", "validation")}
        if "validation" in line:
            values[f"validation/{self.metric}"] = line["validation"]
        elif self.recipe is not None:
            names = ["base", *(group.prefix.rstrip(".") for group in self.recipe.groups)]
            rates = zip(names, self.recipe.rates(line["step"]))
            values |= {f"rate/{name}": rate for name, rate in rates if rate is not None}
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Write what is in memory."""
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Write what is in memory, and write no more."""
        if self.writer is not None:
            self.writer.close()
