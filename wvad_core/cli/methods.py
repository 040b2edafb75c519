"""`wvad methods`: list the methods, from the registry."""
from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import wvad_core as wv

from ..files import written_whole
from ..progress import progress_bar
from ..registry import Paper, module_name, specification, specifications
from . import options

SNIPPETS = 64
DATASETS = {"ucf-crime": "UCF-Crime", "xd-violence": "XD-Violence", "shanghaitech": "ShanghaiTech"}
METRICS = {"auc": "AUC", "ap": "AP", "auc_sub": "AUC_sub", "ap_sub": "AP_sub"}
HEADER = ("method", "paper", "published, %", "parameters", "multiply-accumulates a snippet")
UNPUBLISHED = Paper("no paper", "", 0, "", {})
MARKED = re.compile(r"(?<=<!-- methods -->\n).*?(?=<!-- end of methods -->)", re.DOTALL)

DESCRIPTION = """List the methods: paper, published results in percent, parameters, the datasets with a recipe.

--markdown prints one table, with multiply-accumulates: those of one crop's snippet in a video of 64
(attention grows with the video). They and parameters are counted on the specification, in the
published configuration."""

EXAMPLES = """
examples:
  %(prog)s
  %(prog)s --write README.md

--write replaces what a file has between the lines <!-- methods --> and <!-- end of methods -->."""


def main(argv: Sequence[str], prog: str = "wvad methods") -> None:
    arguments = parser(prog).parse_args(argv)
    options.set_log_level(arguments)
    if not (arguments.markdown or arguments.write):
        print("\n\n".join(map(entry, wv.list_methods())))
        return
    text = table(arguments.golden)
    print(text)
    if arguments.write:
        write(arguments.write, text)


def parser(prog: str) -> argparse.ArgumentParser:
    parser = options.parser(prog, DESCRIPTION, EXAMPLES)
    parser.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also put this table into a file")
    parser.add_argument("--golden", type=Path, metavar="DIR", help="name each method's golden cases, in this folder, too")
    return parser


def entry(method: str) -> str:
    """A method in a few lines; what is wrong with one of another package, in one."""
    from ..scoring import cost  # SciPy comes with it

    try:
        spec = specification(method)
    except wv.InputError as error:
        return f"{method:<10}  cannot be used: {error}"
    paper = spec.PAPER or UNPUBLISHED
    size = f"{cost.parameter_count(method, spec.Config()) / 1e6:.1f} M parameters"
    cited = f"{paper.title}, {paper.authors} {paper.year}" if spec.PAPER else paper.title
    lines = (paper.link, f"{size}; published: {results(paper.results, '; ')}", f"recipes: {', '.join(spec.RECIPES) or 'none'}")
    return "\n".join([f"{method:<10}  {cited}", *(f"{'':<12}{line}" for line in lines if line)])


def table(golden: Path | None) -> str:
    """All methods that can be used in one Markdown table. golden: the folder of golden cases, for a column of them."""
    methods = [method for method, _ in specifications()]
    rows = [row(method, golden) for method in progress_bar(methods, "counting", unit="method")]
    header = (*HEADER, "golden cases") if golden else HEADER
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def row(method: str, golden: Path | None) -> list[str]:
    """A method's cells."""
    from ..scoring import cost  # SciPy comes with it

    spec = specification(method)
    paper, config = spec.PAPER or UNPUBLISHED, spec.Config()
    count = cost.multiply_accumulates(method, config, SNIPPETS) / SNIPPETS
    cited = f"[{paper.title}]({paper.link}), {paper.authors} {paper.year}" if spec.PAPER else paper.title
    cells = [f"`{method}`", cited, results(paper.results, "<br>"),
             f"{cost.parameter_count(method, config) / 1e6:.1f} M", f"{count / 1e6:.1f} M"]
    if golden:
        cases = sorted(path.stem for path in golden.glob(f"{module_name(method)}_*.json"))
        cells.append("<br>".join(f"`{case}`" for case in cases))
    return cells


def results(published: Mapping[str, Mapping[str, float]], between: str) -> str:
    return between.join(f"{DATASETS.get(dataset, dataset)} " + ", ".join(
        f"{METRICS.get(metric, metric)} {value:.2f}" for metric, value in found.items())
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
