"""The report: one HTML file with everything a reader of the run wants to see."""

import base64
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from common.activity import duration
from common.report.canvas import drawable
from common.report.results import read_results
from common.report.summary import formatted
from common.run import folder

PICTURES = {
    "learning_curves": "Learning curves",
    "confusion": "Confusion matrix",
    "worst_mistakes": "The most confident mistakes",
    "near_duplicates": "Near-duplicates",
    "doubts": "Labels that models doubt which have not seen the picture",
    "views": "Training images as the network saw them",
}


def write_report(run: Path) -> Path:
    """Write `report.html` from whatever of the run folder's files there are; returns its path.

    The file stands alone: pictures and style are inside, and it has no script.
    """
    results = read_results(run)
    heads = results.heads()
    scores = [
        {
            "model": row["model"],
            "part": row["part"],
            **{name: formatted(name, row[name]) for name in heads},
        }
        for _, row in results.score_table().iterrows()
    ]
    per_class = results.per_class()
    # where pictures show numbers in place of names, this table is their legend
    all_of_them = bool(drawable([str(row["class"]) for row in per_class], range(len(per_class))).note)
    numbered = [
        {"number": number, **row}
        for number, row in enumerate(per_class)
        if row["support"] or row["predicted"] or all_of_them
    ]
    classes = sorted(numbered, key=lambda row: (row["recall"] is None, row["recall"] or 0))
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = templates.get_template("report.html.j2").render(
        results=results,
        environment=_for_people(results.environment),
        scores=scores,
        heads=heads,
        classes=[{key: _rounded(value) for key, value in row.items()} for row in classes],
        pictures={title: _picture(run / "pictures" / f"{name}.png") for name, title in PICTURES.items()},
        parts=results.split["part"].value_counts().to_dict() if len(results.split) else {},
        left_out={
            "Pictures left out": results.bad_images.values.tolist(),
            "Labels left out": results.bad_labels.values.tolist(),
        },
    )
    path = run / "report.html"
    folder.write_text(path, page)
    return path


def _picture(path: Path) -> str | None:
    return base64.b64encode(path.read_bytes()).decode() if path.exists() else None


def _for_people(environment: dict[str, Any]) -> dict[str, Any]:
    """What it ran on and how long: versions, which are many, stand elsewhere."""
    shown: dict[str, Any] = {
        key: "none" if value == [] else value for key, value in environment.items() if key != "packages"
    }
    if "training_seconds" in shown:
        shown["training time"] = duration(shown.pop("training_seconds"))
    if isinstance(shown.get("threads"), list):
        shown["threads"] = ", ".join(map(str, shown["threads"]))
    return shown


def _rounded(value: Any) -> Any:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else value
