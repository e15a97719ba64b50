"""What a run folder says, read back as plain tables: the common ground of the report and the terminal's summary.

A run that was stopped, or a `fast_dev_run`, lacks files; a full disk leaves damaged ones. Both are normal here: what
is missing reads as empty, what is damaged is named in `Results.notes`, and the rest is still shown.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml

from common.data.spreadsheet import read_csv
from common.errors import PodiumError
from common.run import plain_yaml

# what readers raise for a damaged file
DAMAGED = (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, PodiumError)
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One folder `jobs/<stage>_fold<k>/`."""

    folder: Path
    scores: dict[str, Any]
    history: pd.DataFrame  # one row an epoch; empty if there is none

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def stage(self) -> str:
        return re.sub(r"_fold\d+$", "", self.name)

    @property
    def fold(self) -> int:
        match = re.search(r"_fold(\d+)$", self.name)
        return int(match[1]) if match else 0


@dataclass(frozen=True)
class Results:
    """One run folder. Every table may be empty."""

    run: Path
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    model: dict[str, Any]
    scores: dict[str, Any]
    split: pd.DataFrame  # id, path, label, class, group, source, part
    bad_images: pd.DataFrame
    bad_labels: pd.DataFrame
    jobs: list[Job]  # in the order of their stages, then folds
    blended: int  # number of models, of a blend; else 0
    notes: list[str] = field(default_factory=list)  # files that could not be read, and why

    @property
    def competition(self) -> str:
        value = self.config.get("competition")
        if isinstance(value, dict):
            value = value.get("name")
        return str(value or self.run.absolute().parent.name)

    @property
    def data_root(self) -> str:
        return str(_section(self.config, "data").get("root") or "")

    @property
    def sample(self) -> bool:
        """Whether the run saw sample data drawn by Podium instead of the competition's own."""
        return bool(_section(self.config, "data").get("sample"))

    def last_stage(self) -> list[Job]:
        """The folds of the stage that ran last: the run's outcome (the students, after a distillation)."""
        return [job for job in self.jobs if job.stage == self.jobs[-1].stage]

    def per_class(self) -> list[dict[str, Any]]:
        """The rows of scores.json's `per_class`, of the run or else of its last stage's only job."""
        last = self.last_stage()
        return (
            self.scores.get("per_class")
            or (last[0].scores.get("per_class") if len(last) == 1 else None)
            or []
        )

    def score_table(self) -> pd.DataFrame:
        """One row a model or mean of models and part of the data: model, part, images, top1, top5, loss, others.

        part: see PARTS. images: NaN if unknown.
        """
        rows = []
        for job in self.jobs:
            parts = _parts(job.scores)
            shown = parts if len(self.jobs) == 1 else {"valid": parts.get("valid")}
            rows += [{"model": job.name, "part": PARTS[part], **row} for part, row in shown.items() if row]
        for name, scores in self.stages().items():
            count = self.blended or sum(job.stage == name for job in self.jobs)
            for part, row in _parts(scores).items():
                if part == "valid" and not self.blended:
                    if count == 1:
                        continue
                    rows.append({"model": f"{name}: each fold by its model", "part": PARTS[part], **row})
                elif len(self.jobs) != 1 or self.blended:
                    models = f"mean of {count} models" if count > 1 else "its model"
                    rows.append({"model": f"{name}: {models}", "part": PARTS[part], **row})
        table = pd.DataFrame(rows)
        first = ["model", "part", "images", "top1", "top5", "loss"]
        return table.reindex(columns=first + [name for name in table.columns if name not in first])

    def heads(self) -> dict[str, str]:
        """Column of the score table → its name for people: what was measured, and what chose checkpoints."""
        chosen = [name.removeprefix("valid_") for name in _section(self.config, "best")]
        table = self.score_table()
        levels = [name for name in table if name.endswith("_top1")]  # of a class tree
        names = [
            *(name for name in dict.fromkeys(["top1", "top5", *levels, *chosen]) if name != "loss"),
            "loss",
            "images",
        ]
        return {
            name: HEADS.get(name, name.replace("_top1", " top-1"))
            for name in names
            if name in table and table[name].notna().any()
        }

    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage → its scores, in order."""
        if "stages" in self.scores:
            return self.scores["stages"]
        last = "blend" if self.blended else self.jobs[-1].stage if self.jobs else "run"
        return {last: self.scores} if self.scores else {}

    def remarks(self) -> list[str]:
        """What a reader of the scores must know: spreads over folds, and which numbers chose and which did not."""
        said = ["Validation scores chose the checkpoints, so they are a little optimistic."]
        if _section(_section(self.config, "callbacks"), "tta"):
            said.append(
                "They are of the mean over test-time views (callbacks.tta), those of the epochs of one view."
            )
        changed = self.scores.get("held_out_corrected")
        if changed is not None:
            said.append(
                f"data.correct_held_out=true: {changed} labels of pictures that validate, choose or score are "
                "corrected ones, so these scores compare with no run that has others."
            )
        said += self._choice_by_folds()
        for name, scores in self.stages().items():
            for metric, found in scores.get("folds", {}).items():
                if metric == "valid_top1" and found["sd"] is not None:
                    mean, sd = 100 * found["mean"], 100 * found["sd"]
                    said.append(
                        f"{name}: top-1 {mean:.2f} ± {sd:.2f} % (mean ± sd of {len(found['folds'])} folds)"
                    )
        taught = [
            name
            for name, stage in _section(self.config, "stages").items()
            if stage.get("soft_labels_from") is not None
        ]
        part = "The part «score» was in no fold: it compares them."
        none = "There is no part outside the folds to compare them on: data.score=0.1 holds one out."
        if taught:
            has_part = any("score_top1" in scores for scores in self.stages().values())
            said.append(
                f"The teachers of {', '.join(taught)} have seen the labels of each other's folds, so validation "
                f"flatters it against its teachers. {part if has_part else none}"
            )
        return said

    def _choice_by_folds(self) -> list[str]:
        """What choosing by a fold's labels brought to models that teach or judge by what they say of this fold."""
        stages = _section(self.config, "stages")
        origins = {stage.get(key) for stage in stages.values() for key in ("soft_labels_from", "clean_from")}
        metric = next(iter(_section(self.config, "best")), "")
        said = []
        for name in origins & {*stages}:
            gains = []
            for job in self.jobs:
                if job.stage != name or not {"epoch", metric} <= {*job.history}:
                    continue
                curve = pd.to_numeric(job.history.set_index("epoch")[metric], errors="coerce").dropna()
                if len(curve):
                    gains.append(abs(curve.get(job.scores.get("epoch"), curve.iloc[-1]) - curve.iloc[-1]))
            if len(gains) < 2:
                continue
            said.append(
                f"{name}: the labels of each fold chose the checkpoint that speaks of it, which against the last epoch "
                f"gained {np.mean(gains):.4f} of {metric} (mean of {len(gains)} folds): that may be no knowledge."
            )
        return said


HEADS = {"top1": "top-1", "top5": "top-5", "map": "mAP", "loss": "loss", "images": "images"}
PARTS = {
    "valid": "validation",
    "choose": "choose, in no fold",
    "score": "score, in no fold",
}  # by a score's prefix


def read_results(run: Path) -> Results:
    """Read whatever there is of a run folder. Raises PodiumError if there is no such folder."""
    if not run.is_dir():
        raise PodiumError(f"{run} is not a folder: expected a run folder, such as runs/<competition>/<time>")
    notes: list[str] = []
    config_text = _attempt(run / "config.yaml", _text, "", notes)
    jobs = [
        Job(
            folder,
            _attempt(folder / "scores.json", _mapping, {}, notes),
            _attempt(folder / "history.csv", pd.read_csv, pd.DataFrame(), notes),
        )
        for folder in sorted(path for path in run.glob("jobs/*") if path.is_dir())
    ]
    blend: dict[str, Any] = _attempt(run / "blend.json", _mapping, {}, notes)
    config: dict[str, Any] = _attempt(
        run / "config.yaml", lambda _: _as_mapping(plain_yaml.load(config_text)), {}, notes
    )
    order = {name: at for at, name in enumerate(_section(config, "stages"))}
    return Results(
        run=run,
        config=config,
        config_text=config_text,
        environment=_attempt(run / "environment.json", _mapping, {}, notes),
        model=_attempt(run / "model.json", _mapping, {}, notes),
        scores=_attempt(run / "scores.json", _mapping, {}, notes),
        split=_attempt(run / "folds.csv", _split, pd.DataFrame(), notes),
        bad_images=_attempt(run / "bad_images.csv", _strings, pd.DataFrame(), notes),
        bad_labels=_attempt(run / "bad_labels.csv", _strings, pd.DataFrame(), notes),
        jobs=sorted(jobs, key=lambda job: (order.get(job.stage, len(order)), job.stage, job.fold)),
        blended=len(blend.get("members", [])),
        notes=notes,
    )


def _parts(scores: dict[str, Any]) -> dict[str, dict[str, float]]:
    """{"valid_top1": 0.9, "images": 10} → {"valid": {"top1": 0.9, "images": 10}}."""
    parts: dict[str, dict[str, float]] = {}
    for key, value in scores.items():
        prefix, _, name = key.partition("_")
        if prefix in PARTS and name and isinstance(value, int | float) and not isinstance(value, bool):
            parts.setdefault(prefix, {})[name] = float(value)
    if "valid" in parts and isinstance(scores.get("images"), int | float):
        parts["valid"].setdefault("images", float(scores["images"]))
    return parts


def _attempt(path: Path, read: Callable[[Path], T], otherwise: T, notes: list[str]) -> T:
    if not path.exists():
        return otherwise
    try:
        return read(path)
    except DAMAGED as error:
        notes.append(f"{path}: could not be read ({type(error).__name__}: {str(error).splitlines()[0:1]})")
        return otherwise


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _mapping(path: Path) -> dict[str, Any]:
    return _as_mapping(json.loads(_text(path)))


def _as_mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a mapping, got {type(value).__name__}")
    return value


def _strings(path: Path) -> pd.DataFrame:
    return read_csv(path, dtype=str, keep_default_na=False)  # a class may be called "NA" or "001"


def _split(path: Path) -> pd.DataFrame:
    table = _strings(path)
    missing = {"id", "path", "label", "class", "part"} - set(table.columns)
    if missing:
        raise ValueError(f"columns missing: {', '.join(sorted(missing))}")
    return table.astype({"label": "int64"})


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}
