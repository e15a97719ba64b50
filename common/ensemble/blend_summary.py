"""What the terminal says of a blend: each model alone, what was chosen, and what that is worth."""

from pathlib import Path
from typing import Any

from rich.table import Column, Table

from common.report.summary import print_next
from common.text import console, printable

NAMED = {"top1": "top-1", "top5": "top-5", "loss": "loss"}
WHAT = {
    "choose": "the part that the blend was chosen by",
    "valid": "the validation part, by which the blend and before it the checkpoints were chosen",
    "score": "the part that nothing was chosen by",
}


def print_summary(out: Path, known: dict[str, Any]) -> None:
    """Print what `blend.json` holds."""
    terminal = console()
    metric, parts = known["metric"], known["parts"]
    called, share = NAMED.get(metric, metric), metric != "loss" and abs(known["score"]) <= 1
    heads = [f"{called}, {part}" for part in parts]
    table = Table(Column("model", overflow="fold"), *heads, "ms", "chosen", title="each model alone")
    for row in known["candidates"]:
        scores = [_said(share, row[part][metric]) for part in parts]
        time = f"{row['milliseconds']:.1f}" if "milliseconds" in row else "–"
        table.add_row(printable(row["name"]), *scores, time, "yes" if row["name"] in known["members"] else "")
    terminal.print(table)
    members = known["members"]
    lines = [
        f"chosen ({known['search']} search): {', '.join(members)}"
        + (f", {known['mean']} mean" if len(members) > 1 else ""),
        *(
            f"{called} {_said(share, scores[metric])} on {WHAT[part]} ({scores['images']} images)"
            + "".join(f", {name} {scores[name]:.4f}" for name in _of_contest(scores))
            for part, scores in parts.items()
        ),
        f"the choice flatters itself by about {_said(share, abs(known['optimism']))} (bootstrap, "
        f"{known['resamples']} resamples; up to 1.4 times that among equally good models): "
        f"{_said(share, known['corrected'])} without it",
    ]
    if known["soup"]:
        lines.append(f"the soup is of {', '.join(known['soup'])}; the resamples do not cook it again")
    for line in [*lines, f"run     {out}"]:
        terminal.print(line, soft_wrap=True)
    print_next(out, terminal)


def _of_contest(scores: dict[str, Any]) -> list[str]:
    """What the competition's module measures besides, where it is one number."""
    return [name for name, value in scores.items() if isinstance(value, float) and name not in NAMED]


def _said(share: bool, value: float) -> str:
    return f"{100 * value:.2f} %" if share else f"{value:.4f}"
