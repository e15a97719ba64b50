"""The report's pictures: learning curves, the confusion matrix, the worst mistakes, the training views.

Each function returns a matplotlib Figure; `canvas.save` writes it. Colours are safe for the colour-blind, and class
names that no font of the system can draw are replaced by class numbers, with a note.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from common.report.canvas import (
    BLUE,
    GREEN,
    GREY,
    LINE,
    ORANGE,
    VERMILION,
    box,
    drawable,
    fitted,
    look,
    page,
    plain,
    whole,
    width_of,
    write,
)
from common.report.confusion import confusion

__all__ = ["confusion", "learning_curves", "near_duplicates", "view_sheet", "worst_mistakes"]

PANELS = {  # title → {column of history.csv: (label, colour)}
    "Loss": {"train_loss": ("training", BLUE), "valid_loss": ("validation", VERMILION)},
    "Accuracy in validation": {"valid_top1": ("top-1", VERMILION), "valid_top5": ("top-5", GREEN)},
    "Learning rate": {"lr": ("", ORANGE)},
}


def with_measure(metric: str) -> dict[str, dict[str, tuple[str, str]]]:
    """PANELS, and one more for a metric that none of them has."""
    if not metric or any(metric in columns for columns in PANELS.values()):
        return PANELS
    loss, accuracy, rate = PANELS.items()
    name = metric.removeprefix("valid_")
    return dict([loss, accuracy, ("Choosing", {metric: (plain(name), BLUE)}), rate])


def learning_curves(history: pd.DataFrame, chosen_by: str = "") -> Figure:
    """Loss, accuracy and learning rate over epochs.

    history: one row an epoch, columns as in history.csv, any of which may be missing or have gaps. With a column
        `fold`, each fold is a thin line and their mean a thick one.
    chosen_by: the metric that chooses checkpoints, which is drawn too.
    Raises ValueError if there is nothing to draw.
    """
    panels = {
        title: {name: how for name, how in columns.items() if _values(history, name).notna().any()}
        for title, columns in with_measure(chosen_by).items()
    }
    panels = {title: columns for title, columns in panels.items() if columns}
    if "epoch" not in history or not panels:
        raise ValueError(f"nothing to draw: history has the columns {', '.join(map(str, history.columns))}")
    with look():
        width, gap, left = 3.4, 0.75, 0.65
        figure = page(left + len(panels) * (width + gap) - gap + 0.25, 3.1)
        for i, (title, columns) in enumerate(panels.items()):
            axes = box(figure, left + i * (width + gap), 0.68, width, 1.9)
            write(figure, left + i * (width + gap), 0.14, title, 10, weight="bold")
            _curves(axes, history, columns)
    return figure


def worst_mistakes(
    images: Sequence[NDArray[np.uint8]],
    rows: pd.DataFrame,
    class_names: Sequence[str],
    title: str = "Most confident mistakes",
    words: tuple[str, str] = ("true", "pred."),
) -> Figure:
    """The images of the most confident mistakes, each with its true and its predicted class.

    images: uint8 (H, W, C), C 1 or 3, any sizes, one per row of `rows`: id, label, predicted (ints into
    `class_names`), probability (of the predicted class, in [0, 1]).
    """
    if len(images) != len(rows) or not len(rows):
        raise ValueError(f"one image per row expected, got {len(images)} images and {len(rows)} rows")
    labels, predicted = rows["label"].tolist(), rows["predicted"].tolist()
    names = drawable([class_names[i] for i in labels + predicted], labels + predicted)
    tile, word_width = 1.9, 0.36
    with look():
        figure, places = _sheet(len(rows), 5, tile, 0.58, 0.25, title, names.note)
        axes = whole(figure)
        for i, (left, top) in enumerate(places):
            _show(axes, left, top, tile, images[i])
            sure, top = f"{rows['probability'].iloc[i]:.1%}", top + tile
            write(figure, left + tile, top + 0.26, sure, 8, color=VERMILION, ha="right")
            room = tile - word_width - width_of(sure, None, 8) - 0.08
            for y, word, name, colour in (
                (0.07, words[0], names.shown[i], BLUE),
                (0.25, words[1], names.shown[len(rows) + i], VERMILION),
            ):
                write(figure, left, top + y + 0.01, word, 8, color=GREY)
                name = fitted(name, names.font, 9, room)
                write(figure, left + word_width, top + y, name, 9, names.font, color=colour)
            name = fitted(plain(str(rows["id"].iloc[i])), None, 6.5, tile, keep_end=True)
            write(figure, left, top + 0.45, name, 6.5, color=GREY)
    return figure


def near_duplicates(images: NDArray[np.uint8], rows: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """Pairs of pictures side by side, each with its class and name; what tells two classes apart is vermilion.

    images: uint8 (N, 2, H, W, C), C 1 or 3. rows: N of `near_duplicates.csv`.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    labelled = [*rows["class"], *rows["other_class"]]
    names = drawable(labelled, [label_of.get(name, -1) for name in labelled])
    tile = 1.2
    with look():
        figure, places = _sheet(len(rows), 4, 2 * tile, 0.58 - tile, 0.25, "Near-duplicates", names.note)
        axes = whole(figure)
        for i, (left, top) in enumerate(places):
            pair = rows.iloc[i]
            colour = BLUE if pair["class"] == pair["other_class"] else VERMILION
            for side, column in enumerate(("id", "other")):
                x = left + side * tile
                _show(axes, x, top, tile, images[i][side])
                name = fitted(names.shown[i + side * len(rows)], names.font, 9, tile - 0.05)
                write(figure, x, top + tile + 0.07, name, 9, names.font, color=colour)
                name = fitted(plain(pair[column]), None, 6.5, tile - 0.05, keep_end=True)
                write(figure, x, top + tile + 0.27, name, 6.5, color=GREY)
            said = f"{pair['kind']}, {pair['similarity']:.3f}"
            write(figure, left, top + tile + 0.41, said, 7, color=GREY)
    return figure


def view_sheet(
    images: NDArray[np.uint8], titles: Sequence[str], numbers: Sequence[int] | None = None
) -> Figure:
    """Training images as the model sees them, after augmentation.

    images: uint8 (N, H, W, C), C 1 or 3. titles: N strings, as a rule class names; where no font holds them, the
    `numbers` are shown instead (class numbers; by default the images are counted).
    """
    if not len(images) or len(images) != len(titles):
        raise ValueError(f"one title per image expected, got {len(images)} images and {len(titles)} titles")
    names = drawable(titles, range(1, len(titles) + 1) if numbers is None else numbers)
    tile = 1.2
    with look():
        figure, places = _sheet(
            len(images), 8, tile, 0.22, 0.16, "Training images, after the views", names.note
        )
        axes = whole(figure)
        for image, name, (left, top) in zip(images, names.shown, places, strict=True):
            _show(axes, left, top, tile, image)
            label = fitted(name, names.font, 8.5, tile)
            write(figure, left + tile / 2, top + tile + 0.05, label, 8.5, names.font, ha="center")
    return figure


def _values(history: pd.DataFrame, name: str) -> pd.Series:
    """A column as finite floats; NaN for gaps, and for the infinities of a run that diverged."""
    if name not in history:
        return pd.Series(np.nan, index=history.index)
    return pd.to_numeric(history[name], errors="coerce").replace([np.inf, -np.inf], np.nan)


def _curves(axes: Axes, history: pd.DataFrame, columns: dict[str, tuple[str, str]]) -> None:
    folds = history["fold"] if "fold" in history else pd.Series(0, index=history.index)
    for name, (label, colour) in columns.items():
        table = pd.DataFrame(
            {"epoch": history["epoch"], "fold": folds, "value": _values(history, name)}
        ).dropna()
        mean = table.groupby("epoch")["value"].mean()
        if table["fold"].nunique() > 1:
            for _, one in table.groupby("fold"):
                axes.plot(one["epoch"], one["value"], color=colour, linewidth=0.8, alpha=0.35)
        if name in ("valid_top1", "valid_loss"):
            late = mean[::-1]  # of equal epochs the last, as checkpoints are chosen
            best = late.idxmax() if name == "valid_top1" else late.idxmin()
            shown = f"{mean[best]:.2%}" if name == "valid_top1" else f"{mean[best]:.3f}"
            label = f"{label}, best {shown} in epoch {best}"
            axes.plot([best], [mean[best]], "o", color=colour, markersize=5, zorder=4, clip_on=False)
        marker = "o" if len(mean) == 1 else ""  # a line through one point cannot be seen
        axes.plot(mean.index, mean, color=colour, linewidth=1.8, label=label, marker=marker, markersize=4)
    values = np.concatenate([_values(history, name).dropna() for name in columns])
    if "train_loss" in columns and values.min() > 0 and values.max() > 50 * values.min():
        axes.set_yscale("log")
    if "valid_top1" in columns:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("epoch")
    axes.margins(x=0.03)
    if any(label for label, _ in columns.values()):
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=len(columns),
            borderpad=0,
            handlelength=1.2,
            columnspacing=1.2,
            handletextpad=0.5,
        )


def _sheet(
    tiles: int, columns: int, tile: float, text: float, gap: float, title: str, note: str
) -> tuple[Figure, list[tuple[float, float]]]:
    """A page for `tiles` squares with `text` inches below each, and where (left, top) each of them begins."""
    columns = min(columns, max(tiles, 3))  # wide enough for the title
    rows, margin, head = -(-tiles // columns), 0.25, 0.55
    height = head + rows * (tile + text + gap) - gap
    figure = page(2 * margin + columns * (tile + gap) - gap, height + (0.45 if note else 0.2))
    write(figure, margin, 0.18, title, 12, weight="bold")
    if note:
        write(figure, margin, height + 0.12, note, 8, color=GREY)
    places = (divmod(i, columns) for i in range(tiles))
    return figure, [(margin + x * (tile + gap), head + y * (tile + text + gap)) for y, x in places]


def _show(axes: Axes, left: float, top: float, tile: float, image: NDArray[np.uint8]) -> None:
    """Draw uint8 (H, W, C) in the middle of a square, its shape kept, in a thin frame (paper may be white).

    axes: of canvas.whole; one for each of some dozen tiles would take most of a short run's time.
    """
    height, width = image.shape[:2]
    wide, high = tile * width / max(height, width), tile * height / max(height, width)
    x, y = left + (tile - wide) / 2, top + (tile - high) / 2
    axes.add_patch(Rectangle((left, top), tile, tile, facecolor="#f6f8fa", edgecolor="none", zorder=-1))
    place = (x, x + wide, y + high, y)
    if image.shape[2] == 1:
        axes.imshow(image[:, :, 0], cmap="gray", vmin=0, vmax=255, extent=place, aspect="auto")
    else:
        axes.imshow(image, extent=place, aspect="auto")
    axes.add_patch(Rectangle((left, top), tile, tile, fill=False, edgecolor=LINE, linewidth=0.8, zorder=2))
