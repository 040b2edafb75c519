"""The figure of a training run: its loss and what chose its best weights, over the steps."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from .drawing import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, SMALL, TEXT, VERMILION, heading, inches, new_figure, tidy
from .text import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray
Line = Mapping[str, Any]

CROWDED = 200
"""Steps of a stage from which on the mean over a 50th of them is drawn, and the values of the steps pale behind it."""
LINEAR_BELOW = 1e-2
"""Where the logarithmic scale of losses becomes linear, which has room for 0 and for what is negative."""


def training_curves(history: Sequence[Line], title: str = "Training", detail: str = "", selection: str = "validation",
                    loss_weights: Mapping[str, float] | None = None) -> Figure:
    """The loss and its terms over the steps, each as much as it counts in the loss, above what chose the best weights.

    history: as `training.loop.Journal` has it. title, detail: the heading's two lines. selection: what the values were
    that chose the best weights, as in "AUC on the test set". loss_weights: {term: its weight in the total}, else 1.
    Raises ImportError when matplotlib is not installed.
    """
    weights = loss_weights or {}
    figure = new_figure(9, 5.6)
    losses, chosen = inches(figure, 0.7, 2.5, 1.95, 0.85), inches(figure, 0.7, 0.5, 1.95, 3.65)
    lasts = [max(line["step"] for line in history if line["stage"] == stage)
             for stage in sorted({line["stage"] for line in history})]
    starts = np.cumsum([0, *lasts])
    names = [name for name in dict.fromkeys(name for line in history if "total" in line for name in line)
             if name not in ("stage", "step", "total")]
    looks = cycle((colour, style) for style in ("-", (0, (3, 1.5))) for colour in (VERMILION, GREEN, ORANGE, PURPLE, SKY))
    for name, (colour, style) in [("total", (BLUE, "-")), *zip(names, looks)]:
        weight = weights.get(name, 1)
        label = name if weight == 1 else f"{name} × {weight:g}"
        _loss(losses, _by_stage(history, name, starts, weight), label, colour, style, 2.0 if name == "total" else 1.2)
    losses.set_yscale("symlog", linthresh=LINEAR_BELOW)
    losses.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    losses.tick_params(labelbottom=False)
    losses.legend(loc="upper left", bbox_to_anchor=(1.01, 1.03), frameon=False, fontsize=SMALL, labelcolor=INK)
    _selection(chosen, list(_by_stage(history, "validation", starts, 100)))
    chosen.set_xlabel("step" if len(lasts) == 1 else "step, stage after stage")
    for axes, name in ((losses, "loss, and its terms with their weights"), (chosen, f"{selection}, in percent")):
        axes.set_title(name, loc="left", fontsize=TEXT, color=INK, parse_math=False)
        axes.set_xlim(0, starts[-1])
        axes.margins(y=0.16)
        for number, end in enumerate(starts[1:-1], 2):
            axes.axvline(end, color=GREY, linewidth=0.8)
            axes.annotate(f"stage {number}", (end, 1), (3, -3), ("data", "axes fraction"), "offset points", va="top",
                          fontsize=SMALL, color=GREY)
        tidy(axes)
    heading(figure, title, detail, left=0.7)
    return figure


def _by_stage(history: Iterable[Line], name: str, starts: Array, weight: float) -> Iterable[tuple[Array, Array]]:
    """(steps, counted through all stages; values times the weight) of each stage that has some."""
    lines = [line for line in history if name in line]
    for stage in sorted({line["stage"] for line in lines}):
        found = [(starts[stage - 1] + line["step"], weight * line[name]) for line in lines if line["stage"] == stage]
        steps, values = np.array(found, float).T
        yield steps, values


def _loss(axes: Axes, stages: Iterable[tuple[Array, Array]], label: str, colour: str, style: Any, width: float) -> None:
    for steps, values in stages:
        if len(steps) >= CROWDED:
            axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.6)
            window = len(steps) // 50
            steps, values = (np.convolve(v, np.full(window, 1 / window), "valid") for v in (steps, values))
        axes.plot(steps, values, color=colour, linestyle=style, linewidth=width, label=label,
                  zorder=3 if style == "-" and width > 1.5 else 2)
        label = "_"  # one line of the legend for all stages


def _selection(axes: Axes, stages: Sequence[tuple[Array, Array]]) -> None:
    """The values, and the best of each stage, the first of equal ones; that of the last stage is told at the right."""
    for steps, values in stages:
        best = int(np.argmax(values))
        axes.plot(steps, values, color=BLUE, linewidth=1.6, marker="o", markersize=3.5, clip_on=False)
        axes.plot(steps[best], values[best], color=VERMILION, marker="o", markersize=7, zorder=3, clip_on=False)
        if steps is stages[-1][0]:
            axes.annotate(f"{percent(values[best] / 100)}, the best", (1.02, values[best]), xycoords=("axes fraction", "data"),
                          va="center", fontsize=SMALL, color=VERMILION)
        else:
            axes.annotate(percent(values[best] / 100), (steps[best], values[best]), (0, -7), textcoords="offset points",
                          va="top", ha="center", fontsize=SMALL, color=VERMILION,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
