"""The whole suite, and its figures as a table: python tests/reliability/run.py [--nightly] [--seed S]

Without --nightly: the share that `make test` has, of another seed where one is given. Exit status 1 where there is a fault.
"""
from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "parity")]

import kills  # noqa: E402
import suites  # noqa: E402
from harness import Result, table  # noqa: E402

PACKAGES = ("wvad", "numpy", "safetensors", "torch", "mindspore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nightly", action="store_true", help="10 000 inputs, 100 run folders, 105 kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="*", choices=("inputs", "folders", "kills"), default=(), help="leave out a part")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}; {platform.machine()}; seed {given.seed}\n")
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as place:
        for name, suite, few, many in (("inputs", suites.inputs, 1000, 10_000), ("folders", suites.run_folders, 20, 100)):
            if name not in given.without:
                (Path(place) / name).mkdir()
                results += timed(name, suite, many if given.nightly else few, given.seed, Path(place) / name)
        if "kills" not in given.without:
            results += list(killed(kills.ALL if given.nightly else kills.FEW, Path(place)))
    print(table(results))
    for result in filter(lambda result: result.fault, results):
        print(result)
    sys.exit(any(result.fault for result in results))


def timed(name: str, suite, count: int, seed: int, folder: Path) -> list[Result]:
    start = time.perf_counter()
    results = suite(count, seed, folder)
    peak = max(result.peak for result in results)
    print(f"{name}: {len(results)} in {time.perf_counter() - start:.0f} s, at most {peak / 2**20:.0f} MiB", flush=True)
    return results


def killed(rows: list[tuple[str, str, int]], folder: Path) -> list[Result]:
    """A result for each kill; that of the last one says what is wrong with the end of the run."""
    found = []
    for framework, method, count, fault in kills.run(rows, folder):
        outcomes = ["right"] * (count - 1) + ["other result" if fault else "right"]
        found += [Result(f"kills, {framework}, {method}", number, outcome, fault) for number, outcome in enumerate(outcomes)]
        print(f"killed and resumed {count} times: {method} on {framework}{fault and ': ' + fault}", flush=True)
    return found


if __name__ == "__main__":
    main()
