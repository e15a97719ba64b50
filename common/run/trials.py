"""Many runs as one piece of work: which there are, which are left, and how they compare in the end.

The folder of a sweep holds `sweep.yaml` (every row with its whole configuration), a run folder for each trial,
`failed.json` (trial → exit code of its last attempt) and the ranking. The same command goes on with it until all
trials are done.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from common.build import build
from common.config.configure import FLAG, configure
from common.config.options import parse
from common.config.overrides import quote
from common.config.schema import ON_FAILURE, one_of
from common.errors import PodiumError
from common.run import folder as folders
from common.run.batch import ASKED_TO_STOP
from common.run.ranking_tables import print_ranking, write_ranking, write_tables

OWN = ("run_dir", "new", "on_failure", "launcher")  # keys that are for the sweep, not for its trials
OF_A_TRIAL = {*folders.PER_CALL, "choices", "seed", "weights_from"}  # keys that say nothing about a row


@dataclass(frozen=True)
class Row:
    """What is compared.

    words: for `train`, without seed and run folder. weights_from: the row that its weights come from, where it only
    predicts otherwise. config: what the words give, for the first seed.
    """

    words: list[str]
    config: dict[str, Any]
    weights_from: str | None = None


@dataclass(frozen=True)
class Trial:
    """One run: a row and a seed. folder: of the run, below the sweep's."""

    row: str
    seed: int
    folder: str


@dataclass
class HowToRun:
    """The sweep's own words."""

    run_dir: str | None = None
    new: bool = False
    on_failure: str = "continue"

    def __post_init__(self) -> None:
        one_of("on_failure", self.on_failure, ON_FAILURE)


@dataclass(frozen=True)
class Sweep:
    """Rows and trials to compare with a baseline. kind: the end of the folder's name. label: printed on all tables."""

    kind: str
    label: str
    baseline: str
    rows: dict[str, Row]
    trials: list[Trial]
    config_dirs: list[str]

    def content(self) -> dict[str, Any]:
        """All that makes a sweep this sweep, as plain values."""
        return {
            "label": self.label,
            "baseline": self.baseline,
            "rows": {
                name: {
                    "words": row.words,
                    "weights_from": row.weights_from,
                    "config": {key: value for key, value in row.config.items() if key not in OF_A_TRIAL},
                }
                for name, row in self.rows.items()
            },
            "trials": {trial.folder: {"row": trial.row, "seed": trial.seed} for trial in self.trials},
        }

    def source(self, trial: Trial) -> Trial | None:
        """The trial whose weights this one takes."""
        row = self.rows[trial.row].weights_from
        return next((other for other in self.trials if (other.row, other.seed) == (row, trial.seed)), None)


def take(words: Sequence[str], keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that set one of these keys or something below them, and the other words."""
    mine = [word for word in words if re.split(r"[=.]", word.lstrip("+~"))[0] in keys]
    return mine, [word for word in words if word not in mine]


def composed(words: Sequence[str], config_dirs: Sequence[str]) -> dict[str, Any]:
    """A checked configuration as plain values."""
    config = configure([*words, *(f"{FLAG}={folder}" for folder in config_dirs)])
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def run_sweep(sweep: Sweep, own: Sequence[str]) -> int:
    """Run the trials that are left, and rank. `own`: words for the keys of OWN.

    Returns 0, 1 if a trial failed or was not started, 128 + n after signal n. Raises PodiumError for a mistake.
    """
    launcher_words, other_words = take(own, ["launcher"])
    how = parse(HowToRun, other_words)
    first = next(iter(sweep.rows.values()))
    launcher = build(composed([*first.words, *launcher_words], sweep.config_dirs)["launcher"])
    root, why = choose(sweep, how)
    print(f"{why}: {len(sweep.trials)} trials, {len(_left(sweep, root))} to run", flush=True)
    stopped = 0
    with folders.lock(root):
        if not (root / "sweep.yaml").exists():
            text = yaml.safe_dump(sweep.content(), allow_unicode=True, sort_keys=False)
            folders.write_text(root / "sweep.yaml", text)
        if _left(sweep, root):
            stopped = _run_trials(sweep, root, launcher, how.on_failure == "stop")
        print_ranking(write_ranking(root))
        if not _left(sweep, root):
            folders.write_text(root / "done", "")
    print(f"ranking  {root / 'ranking.md'}")
    return stopped or _report_failures(sweep, root)


def choose(sweep: Sweep, how: HowToRun) -> tuple[Path, str]:
    """The sweep's folder and why this one: as `folder.choose` does it for a run."""
    content = sweep.content()
    if how.run_dir is not None:
        root = Path(how.run_dir)
        if not (root / "sweep.yaml").exists():
            return root, f"new sweep {root}"
        if differing := folders.differences(load_content(root), content):
            raise PodiumError(
                f"{root} was started with other content. The keys that differ (there → here):\n  "
                + "\n  ".join(differing)
                + "\nGive the same settings to go on with it, or another RUN= for a new sweep"
            )
        return root, f"finished already: {root}" if folders.is_done(root) else f"going on with {root}"
    home = folders.RUNS / next(iter(sweep.rows.values())).config["competition"]
    if not how.new:
        for path in sorted(home.glob(f"*_{sweep.kind}*/sweep.yaml"), reverse=True):
            if not folders.is_done(path.parent) and not folders.differences(
                load_content(path.parent), content
            ):
                return path.parent, f"going on with the unfinished {path.parent} (NEW=1 starts afresh)"
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{sweep.kind}"
    root, count = home / stamp, 1
    while root.exists():
        count += 1
        root = home / f"{stamp}_{count}"
    return root, f"new sweep {root}"


def load_content(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "sweep.yaml").read_text(encoding="utf-8"))


def _left(sweep: Sweep, root: Path) -> list[Trial]:
    return [trial for trial in sweep.trials if not folders.is_done(root / trial.folder)]


def _run_trials(sweep: Sweep, root: Path, launcher: Any, stop_on_failure: bool) -> int:
    """Run what is left: first the trials that train, then those that take their weights. 128 + n after signal n."""
    _draw_samples(sweep)
    folders.write_json(root / "failed.json", {})
    for needs_weights in (False, True):
        todo = []
        for trial in _left(sweep, root):
            source = sweep.source(trial)
            if needs_weights == (source is not None) and (
                source is None or folders.is_done(root / source.folder)
            ):
                todo.append(trial)
        codes = _launch(sweep, root, todo, launcher, stop_on_failure)
        for code in codes:
            if code in ASKED_TO_STOP:
                return code
        if None in codes or (stop_on_failure and any(codes)):
            break
    return 0


def _launch(
    sweep: Sweep, root: Path, todo: list[Trial], launcher: Any, stop_on_failure: bool
) -> list[int | None]:
    def on_start(number: int) -> None:
        print(f"trial {number + 1} of {len(todo)}: {todo[number].folder}", flush=True)

    def on_end(number: int, code: int) -> None:
        run = root / todo[number].folder
        print(f"{'done' if code == 0 else f'failed with code {code}'}: {run}", flush=True)
        if code:
            folders.write_json(root / "failed.json", _failed(root) | {todo[number].folder: code})
        write_tables(root)

    commands = [_command(sweep, root, trial) for trial in todo]
    return launcher(commands, stop_on_failure=stop_on_failure, on_start=on_start, on_end=on_end)


def _command(sweep: Sweep, root: Path, trial: Trial) -> list[str]:
    source = sweep.source(trial)
    return [
        *(sys.executable, "-m", "common", "train"),
        *(f"{FLAG}={folder}" for folder in sweep.config_dirs),
        *sweep.rows[trial.row].words,
        f"seed={trial.seed}",
        f"run_dir={quote(str(root / trial.folder))}",
        *([f"weights_from={quote(str(root / source.folder))}"] if source is not None else []),
    ]


def _draw_samples(sweep: Sweep) -> None:
    """Trials that run at the same time must not draw the same sample data."""
    without = {
        row.config["competition"]: row.config
        for row in sweep.rows.values()
        if not row.config["data"].get("root")
    }
    if without:
        from common.run.train import with_data  # imports torch

        for config in without.values():
            with_data(config)


def _failed(root: Path) -> dict[str, int]:
    return folders.load_json(root / "failed.json") if (root / "failed.json").exists() else {}


def _report_failures(sweep: Sweep, root: Path) -> int:
    failed = _failed(root)
    for trial in _left(sweep, root):
        code = failed.get(trial.folder)
        print(f"{'not started' if code is None else f'failed with code {code}'}: {root / trial.folder}")
    return 1 if _left(sweep, root) else 0
