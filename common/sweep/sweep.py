"""The verb `sweep`: a table of recipes (conf/sweep/<name>.yaml), each trained with each seed, compared with one."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING, OmegaConf

from common.config.configure import split
from common.config.layers import SearchPath, read_yaml, search_path, shown
from common.config.options import parse
from common.config.schema import at_least, one_of
from common.config.typed import typed
from common.errors import PodiumError
from common.sweep.run_sweep import run_sweep
from common.sweep.trials import OWN, Row, Sweep, Trial, composed, take

ADDED = ("seed", "weights_from")  # keys that the sweep sets for each trial


@dataclass
class RowFile:
    """One row of the table."""

    overrides: list[str] = field(default_factory=list)  # words as for `make train`
    weights_from: str | None = (
        None  # row whose trained weights it takes, and whose overrides stand below its own
    )


@dataclass
class SweepFile:
    """A file of conf/sweep."""

    baseline: str = MISSING  # row that all others are compared with
    label: str = ""  # printed on top of every table
    seeds: list[int] = field(default_factory=lambda: [0])
    common: list[str] = field(default_factory=list)  # words for all rows, below their own
    rows: dict[str, RowFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            raise PodiumError("rows must have at least one row, got {}")
        one_of("baseline", self.baseline, tuple(self.rows))
        _seeds("seeds", self.seeds)
        for name, row in self.rows.items():
            if not re.fullmatch(r"[\w+-][\w.+-]*", name):
                raise PodiumError(
                    f"rows.{name}: a row's name is a folder's: letters, digits and . _ + - only"
                )
            if row.weights_from is not None:
                trained = tuple(other for other in self.rows if self.rows[other].weights_from is None)
                one_of(f"rows.{name}.weights_from", row.weights_from, trained, "(rows that train)")


@dataclass
class Words:
    """The words of the command line that choose the table."""

    sweep: str = MISSING
    seeds: list[int] | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None:
            _seeds("seeds", self.seeds)


def sweep(arguments: list[str]) -> int:
    """Train and rank the rows of `sweep=<name>`; all are checked before the first starts.

    Words other than `sweep`, `seeds=[…]`, `run_dir`, `new`, `launcher` and `on_failure` are for every trial. Run
    folders are `runs/<competition>/<time>_sweep_<name>/<row>/seed<k>`. Returns the exit code; see `run_sweep`.
    """
    words, config_dirs = split(arguments)
    path = search_path(config_dirs)
    chosen, words = take(words, ("sweep", "seeds"))
    if not take(chosen, ["sweep"])[0]:
        raise PodiumError(f"which sweep? Give SWEEP=<name>; available: {', '.join(path.options('sweep'))}")
    call = parse(Words, chosen)
    own, words = take(words, OWN)
    file = path.file("sweep", call.sweep)
    table = read_table(path, call.sweep)
    rows = {name: _row(table, name, words, config_dirs, file) for name in table.rows}
    seeds = table.seeds if call.seeds is None else call.seeds
    trials = [Trial(name, seed, f"{name}/seed{seed}") for name in rows for seed in seeds]
    kind = f"sweep_{call.sweep.replace('/', '_')}"
    return run_sweep(Sweep(kind, table.label, table.baseline, rows, trials, config_dirs), own)


def read_table(path: SearchPath, name: str) -> SweepFile:
    """A file of conf/sweep. Raises PodiumError that names file and key."""
    file = path.file("sweep", name)
    table = OmegaConf.to_object(typed(read_yaml(file), SweepFile, {"": shown(file)}))
    assert isinstance(table, SweepFile)
    return table


def _row(table: SweepFile, name: str, words: list[str], config_dirs: list[str], file: Path) -> Row:
    row = table.rows[name]
    below = [] if row.weights_from is None else table.rows[row.weights_from].overrides
    all_words = [*table.common, *below, *row.overrides, *words]
    refused = take(all_words, (*OWN, *ADDED))[0]
    if refused:
        raise PodiumError(
            f"{refused[0]}: a sweep sets this for its trials itself; seeds are given by seeds=[0,1,2]"
        )
    try:
        return Row(all_words, composed(all_words, config_dirs), row.weights_from)
    except PodiumError as error:
        raise PodiumError(f"{shown(file)}: rows.{name}: {error}") from None


def _seeds(key: str, seeds: list[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise PodiumError(f"{key} must be different numbers, at least one; got {list(seeds)}")
    for seed in seeds:
        at_least(key, seed, 0)
