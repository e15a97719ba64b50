"""How the rows of a sweep compare: means over seeds, and what a row gains over the baseline on the same seeds.

Everything is read from the files of the sweep's folder.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy import stats

from common.run import folder
from common.run.shapes import Begun

CONFIDENCE = 0.95
SAMPLE = "SAMPLE DATA: these scores are of generated pictures, not of the competition's"


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, and the confidence interval of that mean; nan, nan for a single pair."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranked:
    """One row. scores: metric → seed → score. failed: seed → exit code. place: 1 is best; None without a score."""

    name: str
    scores: dict[str, dict[int, float]]
    failed: dict[int, int]
    seeds: int
    place: int | None = None
    difference: Difference | None = None  # None for the baseline, and where no seed is common

    def mean(self, metric: str) -> float:
        return float(np.mean([*self.scores[metric].values()])) if self.scores[metric] else math.nan

    def sd(self, metric: str) -> float:
        """Sample standard deviation; nan for a single seed."""
        values = [*self.scores[metric].values()]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    @property
    def state(self) -> str:
        """What there is to say about missing scores; else empty."""
        lacking = self.seeds - len(next(iter(self.scores.values()))) - len(self.failed)
        said = []
        for code in sorted({*self.failed.values()}):
            seeds = [str(seed) for seed in sorted(self.failed) if self.failed[seed] == code]
            said.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} failed with code {code}")
        return "; ".join([*said, *([f"{lacking} not run"] if lacking else [])])


@dataclass(frozen=True)
class Ranking:
    """Rows in their order, the best first. metrics: name → max | min; the first one ranks."""

    title: str
    label: str
    baseline: str
    metrics: dict[str, str]
    rows: list[Ranked]
    sample: bool

    @property
    def metric(self) -> str:
        return next(iter(self.metrics))

    def in_shares(self, metric: str) -> bool:
        """Whether people read it in per cent: no loss, and within [-1, 1]."""
        values = [value for row in self.rows for value in row.scores[metric].values()]
        return "loss" not in metric and all(abs(value) <= 1 for value in values)

    @property
    def compares(self) -> bool:
        """Whether there is anything beside the baseline."""
        return len(self.rows) > 1

    @property
    def heads(self) -> list[str]:
        """Sentences for the top of every table."""
        return [line for line in (SAMPLE if self.sample else "", self.label) if line]

    @property
    def notes(self) -> list[str]:
        """How to read the table."""
        chose = self.metric.startswith("valid_")
        said = [
            f"{self.metric} also chose each run's checkpoint: a little optimistic."
            if chose
            else f"{self.metric} is of pictures that no run trained on or chose by."
        ]
        if not self.compares:
            return said
        if max(len(row.scores[self.metric]) for row in self.rows) > 1:
            how = ", mean over the seeds that both have, with its 95 % confidence interval (paired, t-distribution)."
        else:
            how = ". One seed: no interval, so a difference may be chance."
        return [f"Difference: to {self.baseline}{how}", f"Ranked by {self.metric}.", *said]


def paired(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """How much higher `scores` are than `baseline` on the seeds that both have; None if they share none."""
    differences = np.array(
        [scores[seed] - baseline[seed] for seed in sorted(scores.keys() & baseline.keys())]
    )
    if not len(differences):
        return None
    mean = float(differences.mean())
    if len(differences) == 1:
        return Difference(mean, math.nan, math.nan)
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * error)
    return Difference(mean, mean - reach, mean + reach)


def rank(root: Path) -> Ranking:
    """Read a sweep's folder, finished or not."""
    content = yaml.safe_load((root / "sweep.yaml").read_text(encoding="utf-8"))
    failures = folder.load_json(root / "failed.json") if (root / "failed.json").exists() else {}
    config = content["rows"][content["baseline"]]["config"]
    metrics = config["best"]
    if config.get("data", {}).get("score"):  # a part that chose nothing comes first
        metrics = {f"score_{name.removeprefix('valid_')}": way for name, way in metrics.items()} | metrics
    found = {name: Ranked(name, {metric: {} for metric in metrics}, {}, 0) for name in content["rows"]}
    sample = False
    seeds = dict.fromkeys(content["rows"], 0)
    for path, trial in content["trials"].items():
        row, seed = found[trial["row"]], trial["seed"]
        seeds[row.name] += 1
        if folder.is_done(root / path):
            scores = folder.load_json(root / path / "scores.json")
            for metric in metrics:
                if isinstance(scores.get(metric), int | float):
                    row.scores[metric][seed] = float(scores[metric])
            sample |= bool(folder.load_config(root / path, Begun)["data"].get("sample"))
        elif path in failures:
            row.failed[seed] = failures[path]
    rows = _in_order(list(found.values()), seeds, content["baseline"], metrics)
    return Ranking(root.name, content["label"], content["baseline"], metrics, rows, sample)


def _in_order(
    rows: list[Ranked], seeds: dict[str, int], baseline: str, metrics: dict[str, str]
) -> list[Ranked]:
    metric, direction = next(iter(metrics.items()))
    sign = -1 if direction == "max" else 1
    base = next(row for row in rows if row.name == baseline)
    means = {row.name: sign * row.mean(metric) for row in rows}
    ordered = sorted(rows, key=lambda row: (math.isnan(means[row.name]), means[row.name]))
    return [
        Ranked(
            row.name,
            row.scores,
            row.failed,
            seeds[row.name],
            None
            if math.isnan(means[row.name])
            else 1 + sum(mean < means[row.name] for mean in means.values()),
            None if row is base else paired(row.scores[metric], base.scores[metric]),
        )
        for row in ordered
    ]
