"""Runs cases in a process that may die, hang or grow, and counts what became of them.

    results = run(cases(1500, seed=0, kinds=...), ["checkpoint_cases", ...], folder)
"""
from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from damage import DAMAGES
from trials import OUTCOMES

WORKER = Path(__file__).with_name("worker.py")
MOST = 2 << 30
"""Bytes at which a process is ended, for the machine's sake; it has been at fault long before."""


@dataclass(frozen=True)
class Result:
    """What became of a case. peak: bytes that the process has had so far."""
    kind: str
    seed: int
    outcome: str
    detail: str
    peak: int = 0

    @property
    def fault(self) -> bool:
        return self.outcome not in OUTCOMES

    def __str__(self) -> str:
        return f"{self.kind}, seed {self.seed}: {self.outcome}: {self.detail}"


def run(cases: Sequence[tuple[str, int]], modules: Sequence[str], folder: Path, patience: float = 60) -> list[Result]:
    """The results of the cases, in their order.

    modules: those that register the kinds. folder: where all inputs lie, one case's at a time. patience: the seconds
    without a result after which a process hangs; no case takes a thousandth of that.
    """
    results: list[Result] = []
    while len(results) < len(cases):
        given = {"cases": cases, "modules": modules, "from": len(results)}
        (folder / "cases.json").write_text(json.dumps(given))
        lines, fate = run_one(folder, patience)
        results += [Result(*case, *line) for case, line in zip(cases[len(results):], lines)]
        if fate and len(results) < len(cases):
            results.append(Result(*cases[len(results)], *fate))
    return results


def run_one(folder: Path, patience: float) -> tuple[list[list], tuple[str, str] | None]:
    """The lines of one worker, and how it died where it did: the outcome of the case that was next."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with open(folder / "stderr.txt", "w+") as errors, subprocess.Popen(
            [sys.executable, WORKER, folder], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL,
            env=environment) as process:
        received, fate, waited = b"", None, 0.0
        while True:
            if select.select([process.stdout], [], [], 0.25)[0]:
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                received, waited = received + data, 0.0
            else:
                waited += 0.25
            if resident(process.pid) > MOST:
                fate = "over 1 GB", f"more than {MOST >> 20} MiB"
            elif waited > patience:
                fate = "hang", f"no result in {patience:.0f} s"
            if fate:
                process.send_signal(signal.SIGABRT)  # which tells where it was
                break
        status = process.wait()
        errors.seek(0)
        said = " ".join(line.strip() for line in errors if "File " in line or "rror" in line)[:1500]
    lines = [json.loads(line) for line in received.splitlines()]
    whole = lines[-1:] == [None] or (lines and lines[-1][0] == "over 1 GB")
    if fate is None and (status or not whole):
        fate = "crash", f"status {status}"
    lines = [line for line in lines if line]
    return lines, fate and (fate[0], f"{fate[1]}; {said}")


def resident(pid: int) -> int:
    """The bytes that a process has in memory; 0 where it has ended."""
    try:
        found = re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def table(results: Iterable[Result]) -> str:
    """Markdown: a row for each kind; kinds that differ in the damage to bytes alone have one together."""
    rows: dict[str, Counter] = defaultdict(Counter)
    for result in results:
        group, _, damage = result.kind.rpartition(", ")
        rows[f"{group}, damaged" if damage in DAMAGES else result.kind][result.outcome if not result.fault else "faults"] += 1
    rows["all"] = sum(rows.values(), Counter())
    lines = ["| input | cases | right | refused in one line | faults |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {name} | {sum(row.values())} | {row['right']} | {row['refused']} | {row['faults']} |"
              for name, row in rows.items()]
    return "\n".join(lines)
