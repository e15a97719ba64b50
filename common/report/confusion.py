"""The confusion matrix as a picture: readable with a hundred classes, usable with fifty thousand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy.sparse import csr_array

from common.report.canvas import (
    GREY,
    INK,
    LINE,
    Names,
    box,
    drawable,
    fitted,
    look,
    page,
    sized,
    width_of,
    write,
)
from common.task.scores import worst_pairs

NAMED, DRAWN, WORST = 120, 500, 60  # classes: labelled up to, all drawn up to, drawn when there are more
LISTED = 24  # worst pairs in the side list

RIGHT = ListedColormap(colormaps["Blues"](np.linspace(0.08, 0.75, 256)), "right")
WRONG = ListedColormap(colormaps["Oranges"](np.linspace(0.2, 1.0, 256)), "wrong")
NO_IMAGES = (0.925, 0.937, 0.949)  # rows of classes without images


def confusion(matrix: NDArray[np.int64] | csr_array, class_names: Sequence[str]) -> Figure:
    """Confusion matrix: rows are true classes, columns predicted ones; the worst pairs are named beside it.

    matrix: (K, K) counts, dense or sparse. Colours are shares of the row: blue on the diagonal (recall), orange off
    it (mistakes, on a scale of their own, since they are rare). Up to 120 classes each is labelled, up to 500 all
    are drawn; of more, only the 60 with the most mistakes.
    """
    counts: Any = csr_array(matrix)
    pairs = worst_pairs(counts, class_names, LISTED)
    kept = _most_mistaken(counts)
    labels = [*kept.tolist(), *pairs["label"], *pairs["predicted_label"]]
    names = drawable([class_names[i] for i in labels], labels)
    shown, true, predicted = np.split(
        np.array(names.shown, dtype=object), [len(kept), len(kept) + len(pairs)]
    )
    images, mistakes = int(counts.sum()), int(counts.sum() - counts.diagonal().sum())
    subtitle = f"{mistakes:,} mistakes in {images:,} images"
    if len(kept) < len(class_names):
        subtitle += f"; shown: the {len(kept)} of {len(class_names):,} classes with the most mistakes"
    with look():
        return _draw(
            counts[kept][:, kept].toarray(),
            np.asarray(counts[kept].sum(axis=1)).ravel(),
            Names(shown.tolist(), names.font, names.note),
            pairs.assign(true=true, predicted=predicted),
            subtitle,
        )


def _most_mistaken(counts: Any) -> NDArray[np.int64]:
    """The labels to draw, ascending. A mistake counts for the true class and for the predicted one."""
    if counts.shape[0] <= DRAWN:
        return np.arange(counts.shape[0])
    mistakes = np.asarray(counts.sum(axis=0) + counts.sum(axis=1)).ravel() - 2 * counts.diagonal()
    return np.sort(np.argsort(-mistakes, kind="stable")[:WORST])


def _draw(
    cells: NDArray[np.int64], support: NDArray[np.int64], names: Names, pairs: pd.DataFrame, subtitle: str
) -> Figure:
    """cells: (K, K) counts to draw; support: (K,) images of each true class, those predicted elsewhere included."""
    classes = len(cells)
    side = float(np.clip(classes * 0.32, 3.8, 9.6))
    size = float(np.clip(side * 72 / classes * 0.8, 4.5, 9))
    labels = [fitted(name, names.font, size, 1.7) for name in names.shown] if classes <= NAMED else []
    widest = max((width_of(label, names.font, size) for label in labels), default=0.3)
    upright = widest > 0.9 * side / classes
    left, top = 0.5 + widest + 0.1, 0.95 + (widest if upright or not labels else 0.2) + 0.1
    list_left, list_width = left + side + 0.45, 3.3
    figure = page(list_left + list_width + 0.25, max(top + side, 2.3 + 0.2 * len(pairs)) + 0.4)
    write(figure, 0.25, 0.15, "Confusion matrix", 12, weight="bold")
    write(figure, 0.25, 0.42, subtitle, 8.5, color=GREY)
    write(figure, left + side / 2, 0.7, "predicted class", 8.5, color=GREY, ha="center")
    text = write(figure, 0.25, top + side / 2, "true class", 8.5, color=GREY, rotation=90)
    text.set_verticalalignment("center")
    axes = box(figure, left, top, side, side)
    share = np.divide(cells, support[:, None], out=np.zeros(cells.shape), where=support[:, None] > 0)
    off_diagonal = share[~np.eye(classes, dtype=bool)]
    norm = PowerNorm(0.5, 0, max(off_diagonal.max(initial=0), 1e-3))  # a root: single mistakes stay visible
    _cells(axes, cells, support, share, norm)
    _ticks(axes, classes, labels, names, size, upright)
    bottom = _list(figure, list_left, list_width, pairs, names)
    _scale(figure, list_left, bottom + 0.15, list_width, "mistakes, share of the true class", WRONG, norm)
    _scale(figure, list_left, bottom + 0.75, list_width, "recall (diagonal)", RIGHT, PowerNorm(1, 0, 1))
    if names.note:
        write(figure, 0.25, figure.get_figheight() - 0.25, names.note, 8, color=GREY)
    return figure


def _cells(
    axes: Axes,
    cells: NDArray[np.int64],
    support: NDArray[np.int64],
    share: NDArray[np.float64],
    norm: PowerNorm,
) -> None:
    classes = len(cells)
    colours = np.ones((classes, classes, 3))
    colours[support == 0] = NO_IMAGES
    colours[cells > 0] = WRONG(norm(share[cells > 0]))[:, :3]
    seen = np.flatnonzero(support)
    colours[seen, seen] = RIGHT(share[seen, seen])[:, :3]
    axes.imshow(colours, interpolation="nearest")
    if classes <= NAMED:
        edges = np.arange(0, classes + 1, 1 if classes <= 30 else 5) - 0.5
        axes.hlines(edges, -0.5, classes - 0.5, color=LINE, linewidth=0.5)
        axes.vlines(edges, -0.5, classes - 0.5, color=LINE, linewidth=0.5)
    if classes <= 25:
        for row, column in zip(*np.nonzero(cells), strict=True):
            colour = "white" if colours[row, column].mean() < 0.55 else INK
            count = f"{cells[row, column]:,}"
            axes.text(
                column, row, count, size=min(8, 36 / len(count)), ha="center", va="center", color=colour
            )


def _ticks(axes: Axes, classes: int, labels: list[str], names: Names, size: float, upright: bool) -> None:
    """Names at the top and at the left, or class numbers where there are too many classes for names."""
    axes.tick_params(length=0, pad=2, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    if not labels:
        return  # matplotlib's own ticks count the classes
    style: dict[str, Any] = {"fontproperties": sized(names.font, size), "color": INK, "parse_math": False}
    axes.set_xticks(range(classes), labels, rotation=90 if upright else 0, **style)
    axes.set_yticks(range(classes), labels, **style)


def _list(figure: Figure, left: float, width: float, pairs: pd.DataFrame, names: Names) -> float:
    """The table of the worst pairs; returns where it ends."""
    top, right, second = 0.95, left + width, left + 0.36 * width
    write(figure, left, 0.7, "Most frequent mistakes", 9.5, weight="bold")
    if not len(pairs):
        write(figure, left, top, "none", 8.5, color=GREY)
        return top + 0.25
    for place, word in ((left, "true"), (second, "predicted")):
        write(figure, place, top, word, 8, color=GREY)
    for place, word in ((right - 0.5, "images"), (right, "of class")):
        write(figure, place, top, word, 8, color=GREY, ha="right")
    for pair in pairs.itertuples():
        top += 0.2
        for place, name in ((left, pair.true), (second, pair.predicted)):
            name = fitted(str(name), names.font, 8.5, 0.34 * width)
            write(figure, place, top, name, 8.5, names.font)
        write(figure, right - 0.5, top, f"{pair.count:,}", 8.5, ha="right")
        write(figure, right, top, f"{pair.share:.1%}", 8.5, ha="right")
    return top + 0.25


def _scale(
    figure: Figure,
    left: float,
    top: float,
    width: float,
    title: str,
    colours: ListedColormap,
    norm: PowerNorm,
) -> None:
    write(figure, left, top, title, 8, color=GREY)
    axes = box(figure, left, top + 0.17, width, 0.1)
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes, orientation="horizontal")
    most = float(norm.vmax or 1)
    bar.set_ticks(np.linspace(0, most, 5).tolist())
    bar.ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.08 else 1))
    bar.ax.tick_params(length=0, labelsize=7.5)
    bar.outline.set_visible(False)
