"""`bench=speed`: how much of a bare loop's speed Podium's training keeps; all alternate within one run."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.shared import table
from benchmarks.shared.contenders import Contenders, one_core
from benchmarks.shared.words import options_and_recipe, recipe
from common.config.configure import split
from common.config.layers import search_path
from common.errors import PodiumError
from common.run import environment
from common.run.jobs import jobs_of
from common.train.train import with_data

AIMS = {  # the share of the other's images/s that ours should reach
    "bare loop": 0.95,
    "bare loop, one batch in memory": 0.85,
    "Lightning's defaults": 1.0,
    "loader: decode each time": 0.9,
    "image views: plain imgaug": 0.9,
}
REPORTED_ONLY = {("original", "bare loop, one batch in memory")}

NOTES = (
    "ours: the Trainer of run/job.py with all its callbacks, timed between two step starts; no validation",
    "bare loop: same loader, views, network, frozen layers, loss, optimizer, learning rate, weight averaging "
    "(EMA), precision, memory format and threads; no other callback",
    "one batch in memory: that loop without loading and views",
    "Lightning's defaults: Trainer() and an ordinary DataLoader over the same decoded images; same views, "
    "frozen layers, loss, optimizer and weight averaging; 32 bits, contiguous",
    "loader: one thread, no workers; ours decodes every image once, before training, which is not timed",
    "all weights are random: no pretrained ones are fetched",
    "ratio: ours / other, the median over rounds; min and max are single rounds",
)


@dataclass
class Speed:
    """Options of `bench=speed`; all other words belong to the recipe."""

    rounds: int = 5  # of each contender, in turn
    steps: int = 30  # timed, in each round
    warmup: int = 5  # steps before them
    seconds: float = 30  # of steps in a round: where steps are slow, fewer are timed, but 5 at least
    images: int = 200  # viewed by imgaug, in each round
    # default: the competition's recipe. original: experiment=<competition>_original, or else its imgaug views
    recipes: list[str] = field(default_factory=lambda: ["default", "original"])

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "warmup", "seconds", "images"):
            if getattr(self, name) < 1:
                raise PodiumError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in self.recipes:
            if name not in ("default", "original"):
                raise PodiumError(f"recipes must be of default, original; got {name}")


def main(words: Sequence[str]) -> None:
    """Measure, print the table and write it to `runs/bench/<time>/speed.{csv,md}`."""
    options, given = options_and_recipe(Speed, words)
    more = {"default": [], "original": _original(given)}
    configs = {name: recipe([*given, *more[name]]) for name in options.recipes}
    out = table.new_folder()
    machine = environment.describe()
    gpus = f", {', '.join(machine['gpus'])}" if machine["gpus"] else ""
    notes = [*NOTES, f"{machine['system']}, {machine['cpus']} cores{gpus}, torch {torch.__version__}"]
    rows: list[dict[str, Any]] = []
    for name, config in configs.items():
        contenders = Contenders(
            jobs_of(with_data(config))[0][0].config,
            out / name,
            steps=options.steps,
            warmup=options.warmup,
            seconds=options.seconds,
            images=options.images,
        )
        notes.append(f"{name}: {contenders.settings}; {options.rounds} rounds")
        rows += [{"recipe": name, **row} for row in measure(name, contenders, options.rounds)]
        table.write(out, "speed", rows, notes)
    print((out / "speed.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def measure(recipe_name: str, contenders: Contenders, rounds: int) -> list[dict[str, Any]]:
    """One row for each that ours is compared with."""
    training = {
        "ours": contenders.ours,
        "bare loop": contenders.bare,
        "bare loop, one batch in memory": contenders.memory,
        "Lightning's defaults": contenders.lightning,
    }
    loading = {"ours": contenders.our_loader, "loader: decode each time": contenders.plain_loader}
    viewing = {"ours": contenders.our_views, "image views: plain imgaug": contenders.plain_views}
    rows = compare(training, rounds)
    with one_core(contenders.data):
        rows += compare(loading, rounds)
        if contenders.data.image_view is not None:
            rows += compare(viewing, rounds)
    for row in rows:
        if (recipe_name, row["compared with"]) in REPORTED_ONLY:
            row |= {"aim": None, "met": None}
    return rows


def compare(contenders: dict[str, Callable[[], float]], rounds: int) -> list[dict[str, Any]]:
    """Rounds of all contenders in turn, every second one backwards; the first is compared with each other."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(contenders[name]())
        last = ", ".join(f"{name} {values[-1]:.0f}" for name, values in found.items())
        print(f"round {number + 1}/{rounds}: {last} images/s", flush=True)
    ours, *others = contenders
    return [_row(other, found[ours], found[other]) for other in others]


def _row(other: str, ours: list[float], others: list[float]) -> dict[str, Any]:
    ratios = [one / two for one, two in zip(ours, others, strict=True)]
    median = statistics.median(ratios)
    return {
        "compared with": other,
        "ours images/s": round(statistics.median(ours), 1),
        "other images/s": round(statistics.median(others), 1),
        "ratio": round(median, 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
        "aim": AIMS[other],
        "met": "yes" if median >= AIMS[other] else "no",
    }


def _original(words: Sequence[str]) -> list[str]:
    """The words that make a recipe the original entry's: its experiment, or else only imgaug's views."""
    name = f"{recipe(words)['competition']}_original"
    found = search_path(split(list(words))[1]).find("experiment", name)
    return [f"experiment={name}"] if found else ["views=calligraphy_original"]
