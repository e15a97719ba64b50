"""What every picture shares: one look, text that fits and has its glyphs, small PNG files.

Positions are inches from the top left corner, so that a picture can grow with its content and nothing in it moves.
"""

import io
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from PIL import Image

from common.files import written
from common.report.fonts import font_for, font_for_most

# Okabe and Ito's palette: told apart under every common colour blindness (jfly.uni-koeln.de/color).
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, LINE = "#1f2328", "#6a737d", "#d8dee4"
DPI = 120
NO_FONT = "#3 and the like: numbers, from 0, of classes for whose names this system has no font"


def look() -> AbstractContextManager[None]:
    """Podium's look, whatever matplotlibrc the user has. To be held while drawing and while saving."""
    return style.context(
        [
            "default",
            {
                "font.size": 9,
                "text.color": INK,
                "axes.edgecolor": LINE,
                "axes.labelcolor": GREY,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "grid.color": LINE,
                "grid.linewidth": 0.6,
                "xtick.color": LINE,
                "ytick.color": LINE,
                "xtick.labelcolor": GREY,
                "ytick.labelcolor": GREY,
                "xtick.labelsize": 8,
                "ytick.labelsize": 8,
                "legend.frameon": False,
                "legend.fontsize": 8,
            },
        ]
    )


def page(width: float, height: float) -> Figure:
    """An empty white figure of `width` × `height` inches, independent of pyplot."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def box(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    page_width, page_height = figure.get_size_inches()
    bottom = page_height - top - height
    return figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height)
    )


def whole(figure: Figure) -> Axes:
    """Axes over the whole page, invisible, whose coordinates are the positions."""
    axes = figure.add_axes((0, 0, 1, 1))
    width, height = figure.get_size_inches()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def write(
    figure: Figure,
    left: float,
    top: float,
    text: str,
    size: float = 9,
    font: FontProperties | None = None,
    **look: Any,
) -> Text:
    """Put one line of text with its top at `top`; `look` is passed to matplotlib's Text (ha, color, weight, …)."""
    width, height = figure.get_size_inches()
    props = sized(font, size)
    props.set_weight(look.pop("weight", "normal"))
    return figure.text(
        left / width, 1 - top / height, text, va="top", fontproperties=props, parse_math=False, **look
    )


@dataclass(frozen=True)
class Names:
    """Class names as they can be drawn here."""

    shown: list[str]
    font: FontProperties
    note: str  # why numbers are shown instead of some names, else ""


def drawable(names: Sequence[str], numbers: Sequence[int], note: str = NO_FONT) -> Names:
    """The names with the font that holds the most of them; of the others their `numbers`, such as #3, and a note."""
    clean = [_one_line(name) for name in names]
    font, held = font_for_most(clean, always="…#0123456789")
    shown = [name if has else f"#{number}" for name, number, has in zip(clean, numbers, held, strict=True)]
    return Names(shown, font, "" if all(held) else note)


def plain(text: str) -> str:
    """`text` on one line, with `?` for what matplotlib's own font lacks: for file names among other words."""
    return "".join(char if font_for(char) and char.isprintable() else "?" for char in _one_line(text))


def width_of(text: str, font: FontProperties | None, size: float) -> float:
    """Width in inches of `text` on one line."""
    return text_to_path.get_text_width_height_descent(text, sized(font, size), ismath=False)[0] / 72


def fitted(text: str, font: FontProperties | None, size: float, inches: float, keep_end: bool = False) -> str:
    """`text`, or as much of it as fits into `inches` with `…` in the middle (with keep_end: at the start)."""
    if width_of(text, font, size) <= inches:
        return text
    for kept in range(min(len(text) - 1, 200), 0, -1):
        head = 0 if keep_end else (kept + 1) // 2
        short = text[:head].rstrip() + "…" + text[len(text) - (kept - head) :].lstrip()
        if width_of(short, font, size) <= inches:
            return short
    return "…"


def sized(font: FontProperties | None, size: float) -> FontProperties:
    copy = FontProperties() if font is None else font.copy()
    copy.set_size(size)
    return copy


def save(figure: Figure, path: Path, most_bytes: int = 600_000) -> Path:
    """Write a PNG of at most `most_bytes`: in 256 colours, then smaller, where photographs need more."""
    buffer = io.BytesIO()
    with look():
        figure.savefig(buffer, format="png", dpi=DPI)
    if buffer.tell() > most_bytes:
        image = Image.open(buffer).convert("RGB")
        for scale in (1.0, 0.85, 0.7, 0.55, 0.4, 0.25):
            size = round(image.width * scale), round(image.height * scale)
            small = image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            small.quantize(256, method=Image.Quantize.MEDIANCUT).save(buffer, "PNG", optimize=True)
            if buffer.tell() <= most_bytes:
                break
    with written(path) as partial:
        partial.write_bytes(buffer.getvalue())
    return path


def _one_line(text: str) -> str:
    """Without line breaks, tabs and characters that draw nothing."""
    spaced = " ".join(str(text).split())
    return "".join(char for char in spaced if unicodedata.category(char) not in {"Cc", "Cf", "Cs"}) or "?"
