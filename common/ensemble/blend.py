"""The verb `blend`: of the models of some runs those that predict best together, as a run folder of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common import trust
from common.config.schema import above_zero, at_least, one_of
from common.data.predictions import ROWS
from common.data.spreadsheet import to_csv
from common.ensemble import blend_summary, candidates
from common.ensemble.candidates import Candidate, Table
from common.ensemble.selection import METRICS, Rule, Subset, outcomes, select
from common.errors import PodiumError
from common.report.report import write_report
from common.run import folder, shapes
from common.run.members import MEANS, Member, combine, write_members
from common.task.measures import Measure
from common.task.scores import log_loss, topk_accuracy

if TYPE_CHECKING:
    from common.model.classifier import ImageClassifier

RESAMPLES = 200  # of the optimism's bootstrap


@dataclass
class Blend:
    """Options of `blend`."""

    competition: str | None = None  # whose newest finished run is taken when run_dir is not given
    run_dir: Any = None  # run folders: "a,b" or [a,b]; a blend stands for the runs that it was chosen from
    max: int = 3  # models at most, >= 1
    mean: str = "both"  # arithmetic | geometric | both: whichever is better
    milliseconds: float | None = None  # budget of an image, > 0; null: none
    soup: str | None = None  # uniform | greedy: a further candidate, the mean of weights; null: none
    seed: int = 0  # of the bootstrap, >= 0
    trust: Any = None  # packages of one's own that the runs may name: "a,b" or [a,b]; see common/trust.py
    out: str | None = None  # the blend's run folder; null: runs/<competition>/<time>_blend

    def __post_init__(self) -> None:
        at_least("max", self.max, 1)
        one_of("mean", self.mean, (*MEANS, "both"))
        above_zero("milliseconds", self.milliseconds)
        if self.soup is not None:
            one_of("soup", self.soup, ("uniform", "greedy"), "or null")
        at_least("seed", self.seed, 0)


def blend(options: Blend) -> Path:
    """Choose, say what the choice is worth, and write the blend's run folder, which is returned."""
    trust.also(options.trust)
    runs = _runs(options)
    found = candidates.find(runs)
    part = candidates.part_to_choose_by(found)
    parts = [part, "score"] if all(one.predictions("score").exists() for one in found) else [part]
    tables = {name: candidates.read(found, name) for name in parts}
    for name, table in tables.items():
        candidates.check_unseen(table.ids, name, runs)
    metric = _metric(folder.load_config(runs[0]), tables[part].stack.shape[2], found[0])
    out = _out(options, runs[0])
    with folder.lock(out):
        to_csv(candidates.common_folds(runs), out / "folds.csv")
        ingredients: list[Candidate] = []
        if options.soup is not None:
            ingredients, cooked = _soup(out, found, options.soup, part, metric)
            found.append(cooked)
            tables = {name: candidates.read(found, name) for name in parts}
        times = _times(found) if options.milliseconds is not None else None
        means = MEANS if options.mean == "both" else (options.mean,)
        rule = Rule(metric, means, options.max, times, options.milliseconds)
        chosen = select(tables[part].stack, tables[part].labels, rule, RESAMPLES, options.seed)
        listed: list[dict[str, Any]] = [{"name": one.name} for one in found]
        known: dict[str, Any] = {
            "runs": [str(run.resolve()) for run in runs],
            "chosen_by": part,
            "metric": metric.name if isinstance(metric, Measure) else metric,
            "search": "exhaustive" if chosen.exhaustive else "greedy",
            "candidates": listed,
            "soup": [one.name for one in ingredients],
            "members": [found[index].name for index in chosen.members],
            "mean": chosen.mean,
            "score": chosen.score,
            "optimism": chosen.optimism,
            "corrected": chosen.corrected,
            "resamples": chosen.resamples,
            "parts": {
                name: _scores(table, chosen.members, chosen.mean, listed, name, metric)
                | _extra_scores(table, chosen.members, chosen.mean, found[chosen.members[0]])
                for name, table in tables.items()
            },
        }
        if times is not None:
            for row, milliseconds in zip(listed, times, strict=True):
                row["milliseconds"] = milliseconds
        _write(out, [found[index] for index in chosen.members], known)
    blend_summary.print_summary(out, known)
    return out


def _runs(options: Blend) -> list[Path]:
    """The run folders to choose from, each once; a blend stands for those that it was chosen from."""
    if options.run_dir:
        given = options.run_dir if isinstance(options.run_dir, list) else str(options.run_dir).split(",")
        named = [Path(str(run).strip()) for run in given]
    elif options.competition:
        named = [folder.newest_finished(options.competition)]
        print(f"newest finished run: {named[0]}")
    else:
        raise PodiumError(
            "name runs by RUN=<folder>,<folder>, or a competition by COMP=<name> for its newest finished run"
        )
    runs: dict[Path, Path] = {}
    for run in named:
        folder.load_config(run)  # which says so where it is no run folder
        of_blend = run / "blend.json"
        for one in (
            map(Path, folder.load_json(of_blend, shapes.Blend)["runs"]) if of_blend.exists() else [run]
        ):
            trust.check(folder.load_config(one), one / "config.yaml")  # the blend's will be that of the first
            runs.setdefault(one.resolve(), one)
    return list(runs.values())


def _out(options: Blend, first: Path) -> Path:
    if options.out is None:
        competition = folder.load_config(first)["competition"]
        return folder.RUNS / competition / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_blend"
    out = Path(options.out)
    if folder.is_done(out) or ((out / "config.yaml").exists() and not (out / "blend.json").exists()):
        raise PodiumError(f"OUT: {out} holds a run already; name another folder for the blend")
    return out


def _metric(config: dict[str, Any], classes: int, first: Candidate) -> str | Measure:
    """What the run's first `best` is: that which chose its checkpoints chooses its blends."""
    best, direction = next(iter(config["best"].items()))
    metric = best.removeprefix("valid_")
    if metric in METRICS and (metric != "top5" or classes >= 5):
        return metric
    if measure := _module_of(first).measure(metric):
        return replace(measure, direction=direction)  # where nothing but the recipe says it
    print(f"blends cannot be chosen by {metric}, which is measured in validation alone: by top-1 instead")
    return "top1"


def _module_of(candidate: Candidate) -> "ImageClassifier":
    from common.run.components import (
        load_module,  # imports torch, which what cannot be blended need not wait for
    )

    return load_module(folder.load_config(candidate.job), candidate.job / "best.ckpt")


def _soup(
    out: Path, found: Sequence[Candidate], how: str, part: str, metric: str | Measure
) -> tuple[list[Candidate], Candidate]:
    """(what went into the soup, the soup)."""
    from common.ensemble.soup import cook  # imports torch, which a blend without soup need not wait for

    def score(labels: np.ndarray, rows: np.ndarray) -> float:
        if isinstance(metric, Measure):
            return Rule(metric).sign * metric.of(labels, rows)
        return -log_loss(rows, labels) if metric == "loss" else topk_accuracy(rows, labels, _k(metric))

    cooked = Candidate(out, out / "jobs" / "soup_fold0")
    return cook(cooked.job, found, how, part, score), cooked


def _times(found: Sequence[Candidate]) -> tuple[float, ...]:
    from common.ensemble.latency import milliseconds  # imports torch

    return tuple(milliseconds(one.job / "best.ckpt") for one in found)


def _scores(
    table: Table,
    members: Subset,
    mean: str,
    listed: list[dict[str, Any]],
    part: str,
    metric: str | Measure,
) -> dict[str, Any]:
    """top1, top5, loss, images and the measure that chose: the blend's, returned, and each candidate's, to its row."""
    alone = [(index,) for index in range(len(listed))]
    for row, scores in zip(listed, _scored(table, alone, "arithmetic", metric), strict=True):
        row[part] = scores
    return _scored(table, [members], mean, metric)[0]


def _extra_scores(table: Table, subset: Subset, mean: str, first: Candidate) -> dict[str, Any]:
    """What the competition's module measures besides, such as the contest's own score; first: of the blend's models."""
    best = []
    for start in range(0, len(table.ids), ROWS):
        rows = combine(table.stack[list(subset), start : start + ROWS], mean)
        best.append((rows.argmax(axis=1), rows.max(axis=1)))
    predicted, probability = (np.concatenate(part) for part in zip(*best, strict=True))
    columns = {"id": table.ids, "label": table.labels, "predicted": predicted, "probability": probability}
    module = _module_of(first)
    scores = module.extra_scores(pd.DataFrame(columns))
    own = [one for one in module.measures() if one.name not in scores]
    rows = combine(table.stack[list(subset)], mean) if own else np.empty(0)
    return scores | {one.name: float(one.of(table.labels, rows)) for one in own}


def _scored(
    table: Table, subsets: Sequence[Subset], mean: str, chosen_by: str | Measure
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in subsets]
    if isinstance(chosen_by, Measure):
        for scores, subset in zip(found, subsets, strict=True):
            scores[chosen_by.name] = float(
                chosen_by.of(table.labels, combine(table.stack[list(subset)], mean))
            )
    for metric in ("top1", "top5") if table.stack.shape[2] >= 5 else ("top1",):
        hits, losses = outcomes(table.stack, table.labels, subsets, mean, _k(metric))
        for scores, hit, loss in zip(found, hits, losses, strict=True):
            scores |= {metric: float(hit.mean()), "loss": float(loss.mean()), "images": len(hit)}
    return found


def _k(metric: str) -> int:
    return 5 if metric == "top5" else 1


def _write(out: Path, members: Sequence[Candidate], known: dict[str, Any]) -> None:
    """All that makes the folder a run, `done` last."""
    flat = {
        f"{part}_{name}": value for part, scores in known["parts"].items() for name, value in scores.items()
    }
    folder.write_json(out / "blend.json", known)
    folder.write_json(out / "scores.json", {**flat, "chosen_by": known["chosen_by"]})
    write_members(out, [Member(one.job) for one in members], known["mean"])
    # the soup lies in the blend's own folder, which has no recipe yet; it has that of its first ingredient
    first = members[0].job if members[0].run == out else members[0].run
    folder.write_config(out, folder.load_config(first))
    write_report(out)
    folder.write_text(out / "done", "")
