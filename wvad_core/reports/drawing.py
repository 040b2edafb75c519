"""What all pictures have in common: colours, sizes, axes and headings.

matplotlib is imported when a figure is made and not before, and its pyplot never: no window system, no current figure and
no setting of the caller's has a part in a picture.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"
"""Of the palette by Okabe and Ito, which people with any colour vision tell apart."""
INK, GREY, PALE = "#1f2328", "#646b75", "#e4e7eb"
TITLE, TEXT, SMALL, TINY = 11, 9, 8, 6
"""Sizes of letters, in points."""
DPI = 200
MARGIN = 0.12
"""Inches between the picture's edge and its headings."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches. Raises ImportError when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is not installed: pip install matplotlib") from error
    return Figure((width, height), dpi=DPI, facecolor="white")


def inches(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Axes with so many inches between each of their sides and the picture's edge."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height))


def heading(figure: Figure, title: str, detail: str = "", corner: str = "", left: float = MARGIN) -> None:
    """Title and detail, one above the other from `left` inches on, and a word in the upper right corner."""
    width, height = figure.get_size_inches()
    for text, x, y, align, style in ((title, left, 0.11, "left", {"fontsize": TITLE, "fontweight": "bold", "color": INK}),
                                     (corner, width - MARGIN, 0.11, "right", {"fontsize": TEXT, "color": INK}),
                                     (detail, left, 0.33, "left", {"fontsize": SMALL, "color": GREY})):
        figure.text(x / width, 1 - y / height, text, ha=align, va="top", parse_math=False, **style)


def tidy(axes: Axes) -> None:
    """Pale grid behind the curves, no frame above and at the right, letters of one size."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=INK, labelsize=SMALL)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=TEXT, color=INK)


def shortened(text: str, most: int) -> str:
    """A text without its middle where it has more than so many characters."""
    return text if len(text) <= most else f"{text[:(most - 2) // 2]}...{text[len(text) - (most - 3) // 2:]}"
