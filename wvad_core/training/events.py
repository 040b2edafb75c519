"""TensorBoard's event files of a run, the same for all frameworks; written by tensorboardX, where it is installed.

    loss/total, loss/TERM       of each step, before it
    rate/base, rate/GROUP       the learning rates of the step: of what is in no group, and of each group that has begun
    validation/METRIC           what the best weights are chosen by
    plan                        a text: all of recipe.json, hyperparameters included

Steps are counted from 1 through all stages. Events are written by the thread that trains: tensorboardX's own writer has
another, which on a full disk ends with a traceback and leaves training to wait for it.
"""
from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import writing
from .recipe import Recipe


class Events:
    """The event files in a run's folder. Does nothing where tensorboardX is not installed.

    steps: how many a resumed run has taken; what event files have behind them no longer counts. A new run, of 0 steps,
    removes the event files of another one. recipe: its rates are written, if it is given. metric: that of `validation/`.
    Raises, here and where it writes, what `files.cannot_write` makes of an error of the disk.
    """

    def __init__(self, folder: Path, steps: int, plan: Mapping[str, Any], recipe: Recipe | None, metric: str) -> None:
        self.folder, self.recipe, self.metric = folder, recipe, metric
        self.writer: Any = None
        try:
            from tensorboardX import event_file_writer, summary
            from tensorboardX.proto import event_pb2
        except ImportError:
            return
        self.summary: Any = summary
        self.event_pb2: Any = event_pb2
        with writing(folder):
            for old in folder.glob("events.out.tfevents.*") if not steps else ():
                old.unlink()
            # The name has a random end: of what is there already, of this second, nothing is written over.
            self.writer = event_file_writer.EventsWriter(str(folder / "events"), f".{secrets.token_hex(4)}")
        if steps:
            self._write(steps + 1, session_log=self.event_pb2.SessionLog(status=self.event_pb2.SessionLog.START))
        elif plan:
            text = "".join(f"    {line}\n" for line in json.dumps(plan, indent=2).splitlines())
            self._write(0, summary=summary.text("plan", text))

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
            self._write(step, summary=self.summary.scalar(tag, value))

    def flush(self) -> None:
        """Write what is in memory."""
        if self.writer is not None:
            with writing(self.folder):
                self.writer.flush()

    def close(self) -> None:
        """Write what is in memory, and write no more."""
        if self.writer is not None:
            writer, self.writer = self.writer, None
            with writing(self.folder):
                writer.close()

    def _write(self, step: int, **event: Any) -> None:
        with writing(self.folder):
            self.writer.write_event(self.event_pb2.Event(wall_time=time.time(), step=step, **event))
