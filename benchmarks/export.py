"""`bench=export`: every competition's exported model beside the training code, eager and compiled, in one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.shared import table
from benchmarks.shared.words import options_and_recipe
from common.config.layers import CONF
from common.config.options import parse
from common.deliver.export import Export, export
from common.errors import PodiumError
from common.run import environment, folder

NOTES = (
    "largest difference of a probability to that of the training code, on held-out pictures, in batches and singly",
    "milliseconds: the median of one picture; images/s: in batches; pixels are decoded and fitted already",
    "forms take turns within one process and have the same number of threads",
)


@dataclass
class Runs:
    """Options of `bench=export`; all other words are those of `export`."""

    run_dir: Any = None  # run folders: "a,b" or [a,b]; null: the newest finished run of each competition

    def __post_init__(self) -> None:
        given = self.run_dir if isinstance(self.run_dir, list) else str(self.run_dir or "").split(",")
        self.run_dir = [str(run) for run in given if run] or newest_runs()


def newest_runs() -> list[str]:
    """The newest finished run of each competition that has one. Raises PodiumError if none has."""
    found = []
    for competition in sorted(path.stem for path in (CONF / "competition").glob("*.yaml")):
        try:
            found.append(str(folder.newest_finished(competition)))
        except PodiumError as error:
            print(error)
    if not found:
        raise PodiumError("no competition has a finished run: name runs by RUN=<folder>,<folder>")
    return found


def main(words: Sequence[str]) -> None:
    """Export each run, print one table and write it to `runs/bench/<time>/export.{csv,md}`."""
    options, given = options_and_recipe(Runs, words)
    parse(Export, given)  # mistakes are told before the first run is exported
    out = table.new_folder()
    machine = environment.describe()
    notes = [*NOTES, f"{machine['system']}, {machine['cpus']} cores, torch {machine['packages']['torch']}"]
    rows: list[dict[str, Any]] = []
    for number, run in enumerate(options.run_dir):
        config = folder.load_config(Path(run))
        place = out / f"{number}_{config['competition']}"
        words_of_run = {"compile": "true"} | dict(word.split("=", 1) for word in given)
        export(
            parse(
                Export, [f"run_dir='{run}'", f"out='{place}'", *(f"{k}={v}" for k, v in words_of_run.items())]
            )
        )
        found = folder.load_json(place / "export.json")
        notes.append(f"{config['competition']}: {run}, {found['how']}, {found['images']} pictures")
        rows += [{"competition": config["competition"], **_row(form)} for form in found["forms"]]
        table.write(out, "export", rows, notes)
    print((out / "export.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def _row(form: dict[str, Any]) -> dict[str, Any]:
    def shown(key: str, pattern: str, factor: float = 1) -> str | None:
        return format(factor * form[key], pattern) if key in form else None

    return {
        "form": form["form"],
        "MB": shown("megabytes", ".2f"),
        "largest difference": shown("largest_difference", ".1e"),
        "same class %": shown("same_class", ".1f", 100),
        "top-1 %": shown("top1", ".1f", 100),
        "ms, one": shown("milliseconds", ".2f"),
        "images/s": shown("images_per_second", ".0f"),
        "note": form["note"],
    }
