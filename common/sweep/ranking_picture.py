"""The ranking as a picture: a line for each row, a dot for each seed, the mean with its spread."""

import math
from pathlib import Path
from textwrap import wrap

from matplotlib.ticker import PercentFormatter

from common.report.canvas import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    box,
    drawable,
    fitted,
    look,
    page,
    plain,
    save,
    write,
)
from common.sweep.ranking import Ranking

NO_FONT = "#3 and the like: this system has no font for their names; see row 3 of ranking.md"
WHISKERS = "whiskers, of several seeds: sd"
NAMES, AXES, LINE = 2.4, 4.6, 0.3  # inches: width of the names and of the axes, height of a row


def draw_ranking(path: Path, ranking: Ranking) -> Path:
    """Write the picture of a ranking; rows without a score are named and have no dot."""
    metric, rows = ranking.metric, ranking.rows
    names = drawable([row.name for row in rows], range(1, len(rows) + 1), NO_FONT)
    heads = [part for line in ranking.heads for part in wrap(plain(line), 105)]
    top = 0.55 + 0.2 * len(heads)
    with look():
        figure = page(0.3 + NAMES + AXES + 0.4, top + LINE * len(rows) + 0.75)
        write(figure, 0.3, 0.16, plain(f"{metric}, mean over seeds"), 12, weight="bold")
        for number, line in enumerate(heads):
            write(figure, 0.3, 0.45 + 0.2 * number, line, 8, color=GREY)
        axes = box(figure, 0.3 + NAMES, top, AXES, LINE * len(rows))
        for place, row in enumerate(rows):
            is_baseline = ranking.compares and row.name == ranking.baseline
            colour = VERMILION if is_baseline else BLUE
            mean, sd = row.mean(metric), row.sd(metric)
            values = list(row.scores[metric].values())
            axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.35, markersize=4)
            if values:
                spread = None if math.isnan(sd) else sd
                axes.errorbar(mean, place, xerr=spread, fmt="o", color=colour, markersize=6, capsize=3)
            if is_baseline and values:
                axes.axvline(mean, color=colour, linewidth=0.8, linestyle="--", zorder=0)
            text = names.shown[place] + ("" if values else ": failed" if row.failed else ": not run")
            text = fitted(text, names.font, 9, NAMES - 0.15)
            where = {"color": VERMILION if is_baseline else INK, "ha": "right"}
            write(figure, 0.3 + NAMES - 0.12, top + LINE * (place + 0.25), text, 9, names.font, **where)
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=[])
        if ranking.in_shares(metric):
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.margins(x=0.06)
        bottom = top + LINE * len(rows) + 0.4
        write(
            figure,
            0.3,
            bottom,
            plain(
                (f"red: the baseline, {ranking.baseline}; " if ranking.compares else "")
                + WHISKERS
                + (f"; {names.note}" if names.note else "")
            ),
            8,
            color=GREY,
        )
    return save(figure, path)
