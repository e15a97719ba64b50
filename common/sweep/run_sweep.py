"""Running a sweep: what is left of its trials, in any number of attempts, and the ranking of what there is.

The folder of a sweep holds `sweep.yaml` (every row with its whole configuration), a run folder for each trial,
`failed.json` (trial → exit code of the last attempt) and the ranking. The same command goes on with it until all
trials are done.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from common import trust
from common.build import build
from common.config.configure import FLAG
from common.config.options import parse
from common.config.overrides import quote
from common.run import folder as folders
from common.sweep.ranking_tables import print_ranking, write_ranking, write_tables
from common.sweep.trials import HowToRun, Sweep, Trial, choose, composed, take
from common.train import own as own_folder
from common.train.launch.commands import ASKED_TO_STOP


def run_sweep(sweep: Sweep, own: Sequence[str]) -> int:
    """Run the trials that are left, and rank. `own`: words for the keys of OWN.

    Returns 0, 1 if a trial failed or was not started, 128 + n after signal n. Raises PodiumError for a mistake.
    """
    launcher_words, other_words = take(own, ["launcher"])
    how = parse(HowToRun, other_words)
    first = next(iter(sweep.rows.values()))
    parts = composed([*first.words, *launcher_words], sweep.config_dirs)
    trust.own(parts)
    launcher = build(parts["launcher"], "launcher")
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
    if stopped:
        print("stopped by a signal: the same command goes on from here", file=sys.stderr)
    return stopped or _report_failures(sweep, root)


def _left(sweep: Sweep, root: Path) -> list[Trial]:
    return [trial for trial in sweep.trials if not folders.is_done(root / trial.folder)]


def _run_trials(sweep: Sweep, root: Path, launcher: Any, stop_on_failure: bool) -> int:
    """Run what is left. Returns 0, or 128 + n after signal n."""
    _draw_samples(sweep)
    own_folder.before_trials(row.config for row in sweep.rows.values())
    folders.write_json(root / "failed.json", {})
    for wave in sweep.waves():
        todo = [trial for trial in wave if trial in _left(sweep, root) and _has_weights(sweep, root, trial)]
        if not todo:
            continue
        codes = _launch(sweep, root, todo, launcher, stop_on_failure)
        for code in codes:
            if code in ASKED_TO_STOP:
                return code
        if None in codes or (stop_on_failure and any(codes)):
            break
    return 0


def _has_weights(sweep: Sweep, root: Path, trial: Trial) -> bool:
    source = sweep.source(trial)
    return source is None or folders.is_done(root / source.folder)


def _launch(
    sweep: Sweep, root: Path, todo: list[Trial], launcher: Any, stop_on_failure: bool
) -> list[int | None]:
    def on_start(number: int) -> None:
        trial = todo[number]
        print(f"trial {sweep.trials.index(trial) + 1} of {len(sweep.trials)}: {trial.folder}", flush=True)

    def on_end(number: int, code: int) -> None:
        print(f"{_state(code)}: {root / todo[number].folder}", flush=True)
        if code not in (0, *ASKED_TO_STOP):
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
        from common.train.train import with_data  # imports torch

        for config in without.values():
            with_data(config)


def _failed(root: Path) -> dict[str, int]:
    return folders.load_json(root / "failed.json") if (root / "failed.json").exists() else {}


def _report_failures(sweep: Sweep, root: Path) -> int:
    failed = _failed(root)
    for trial in _left(sweep, root):
        print(f"{_state(failed.get(trial.folder))}: {root / trial.folder}")
    return 1 if _left(sweep, root) else 0


def _state(code: int | None) -> str:
    if code in ASKED_TO_STOP:
        return "stopped"
    return {0: "done", None: "not started"}.get(code, f"failed with code {code}")
