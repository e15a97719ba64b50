"""The verb `evaluate`: scores of a run on labelled pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from common.data.images import ImageError
from common.data.records import class_folders
from common.deliver.predict import OnRun, find_run, load_model, probabilities_of, run_config
from common.errors import PodiumError
from common.run import folder, predictions


@dataclass
class Evaluate(OnRun):
    """Options of `evaluate`."""

    input: str | None = None  # folder of class folders; null: the run's own validation part
    out: str | None = None  # folder for scores.json and class_scores.csv; null: evaluation/ in the run folder


def evaluate(options: Evaluate) -> Path:
    """Score a run and write `scores.json`, `class_scores.csv` and `predictions.parquet`; returns their folder."""
    run = find_run(options.run_dir, options.competition)
    config = run_config(run, options.data.root)
    module = load_model(run, config, options.checkpoint, options.tta)
    table, what = _labelled(run, options, module.class_names)
    bad: list[ImageError] = []
    paths = [Path(path) for path in table["path"]]
    found = list(probabilities_of(module, config, table["id"].tolist(), paths, options.batch_size, bad))
    if not found:
        raise PodiumError(
            f"none of the {len(table)} pictures could be read; the first: {bad[0].path}: {bad[0].reason}"
        )
    labels = table.set_index("id")["label"].loc[[image for image, _ in found]].to_numpy()
    probabilities = np.stack([row for _, row in found])
    scores = predictions.score(labels, probabilities, module.class_names)
    out = Path(options.out) if options.out else run / "evaluation"
    out.mkdir(parents=True, exist_ok=True)
    folder.write_json(out / "scores.json", {**scores, "unreadable": len(bad), "of": what})
    pd.DataFrame(scores["per_class"]).to_csv(out / "class_scores.csv", index=False)
    predictions.write(out / "predictions.parquet", [image for image, _ in found], labels, probabilities)
    _print(scores, what, bad, out)
    return out


def _labelled(run: Path, options: Evaluate, class_names: list[str]) -> tuple[pd.DataFrame, str]:
    if options.input is not None:
        return class_folders(Path(options.input), class_names, allow_empty=True)[0], options.input
    split = pd.read_csv(run / "split.csv", dtype={"id": str}, keep_default_na=False)
    if options.data.root is not None:
        split["path"] = [str(Path(options.data.root) / image) for image in split["id"]]
    held_out = split[split["part"] == "valid"].reset_index(drop=True)
    return held_out, "the run's validation part, by which it was chosen"


def _print(scores: dict, what: str, bad: list[ImageError], out: Path) -> None:
    console = Console(highlight=False)
    named = {"top1": "top-1", "top5": "top-5"}
    head = [f"{named[key]} {100 * scores[key]:.2f} %" for key in named if key in scores]
    console.print(f"{scores['images']} images of {what}", markup=False)
    console.print(", ".join([*head, f"loss {scores['loss']:.4f}"]))
    if bad:
        console.print(f"{len(bad)} could not be read and are left out, the first: {bad[0]}", markup=False)
    table = Table("class", "precision", "recall", "support", title="lowest recall first")
    seen = [row for row in scores["per_class"] if row["support"]]
    for row in sorted(seen, key=lambda row: row["recall"])[:10]:
        precision = "–" if row["precision"] is None else f"{row['precision']:.3f}"
        table.add_row(row["class"], precision, f"{row['recall']:.3f}", str(row["support"]))
    console.print(table)
    console.print(f"all classes: {out / 'class_scores.csv'}", markup=False)
