"""List the methods, from the registry, as one table in Markdown: paper, published results, size, golden cases.

  python tools/list_methods.py
  python tools/list_methods.py --write README.md

Parameters and multiply-accumulates are those of the published configuration: of one crop's snippet in a video of 64
(attention grows with the video), counted on the specification. --write replaces what stands in a file between the lines
<!-- methods --> and <!-- end of methods -->.
"""
from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

import wvad_core as wv
from command_line import run
from wvad_core.files import written_whole
from wvad_core.registry import module_name, specification

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "published" / "golden"
SNIPPETS = 64
DATASETS = {"ucf-crime": "UCF-Crime", "xd-violence": "XD-Violence", "shanghaitech": "ShanghaiTech"}
METRICS = {"auc": "AUC", "ap": "AP", "auc_sub": "AUC_sub", "ap_sub": "AP_sub"}
HEADER = ("method", "paper", "published, %", "parameters", "multiply-accumulates a snippet", "golden cases")
MARKED = re.compile(r"(?<=<!-- methods -->\n).*?(?=<!-- end of methods -->)", re.DOTALL)


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    rows = [row(method) for method in tqdm(wv.list_methods(), "counting", unit="method", leave=False, disable=None)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *rows))
    print(table)
    if arguments.write:
        write(arguments.write, table)


def row(method: str) -> list[str]:
    from wvad_core.scoring import cost  # SciPy comes with it

    spec = specification(method)
    paper, config = spec.PAPER, spec.Config()
    count = cost.multiply_accumulates(method, config, SNIPPETS) / SNIPPETS
    cases = sorted(path.stem for path in GOLDEN.glob(f"{module_name(method)}_*.json"))
    return [f"`{method}`", f"[{paper.title}]({paper.link}), {paper.authors} {paper.year}", results(paper.results),
            f"{cost.parameter_count(method, config) / 1e6:.1f} M", f"{count / 1e6:.1f} M",
            "<br>".join(f"`{case}`" for case in cases)]


def results(published: dict[str, dict[str, float]]) -> str:
    return "<br>".join(f"{DATASETS[dataset]} " + ", ".join(f"{METRICS[metric]} {value:.2f}" for metric, value in found.items())
                       for dataset, found in published.items()) or "none known"


def write(path: Path, table: str) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise wv.InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not MARKED.search(text):
        raise wv.InputError(f"{path}: no lines <!-- methods --> and <!-- end of methods -->, expected both")
    with written_whole(path) as temporary:
        temporary.write_text(MARKED.sub(lambda _: table + "\n", text), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put the table into this file")
    return parser


if __name__ == "__main__":
    run(main)
