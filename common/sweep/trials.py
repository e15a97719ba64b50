"""What a sweep is: rows to compare, a run for each row and seed, and the folder where they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from common.config.configure import FLAG, configure
from common.config.schema import ON_FAILURE, one_of
from common.errors import PodiumError
from common.run import folder as folders

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

    def waves(self) -> list[list[Trial]]:
        """The trials that train, then those that take their weights."""
        takes = [self.source(trial) is not None for trial in self.trials]
        return [
            [trial for trial, second in zip(self.trials, takes, strict=True) if second == wave]
            for wave in (0, 1)
        ]


def take(words: Sequence[str], keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that set one of these keys or something below them, and the other words."""
    mine = [word for word in words if re.split(r"[=.]", word.lstrip("+~"))[0] in keys]
    return mine, [word for word in words if word not in mine]


def composed(words: Sequence[str], config_dirs: Sequence[str]) -> dict[str, Any]:
    """A checked configuration as plain values."""
    config = configure([*words, *(f"{FLAG}={folder}" for folder in config_dirs)])
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


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
