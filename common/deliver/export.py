"""The verb `export`: a run in, files that predict without Podium's training code or without torch out, each checked.

A file is what its checks say: it is loaded from disk and compared, on real pictures, with the models as training
left them. One that differs is kept under the name `rejected_…` and ends the command with exit code 1.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.table import Table

from common.activity import Activity
from common.config.schema import above_zero, at_least
from common.cores import cores
from common.deliver.compare import EAGER, FILES, INT8, ONNX, Predict, gain, in_batches, parity, speeds
from common.deliver.predict import OnRun, find_run, run_config
from common.errors import PodiumError
from common.files import FULL, check_inside, make_folder, unwritable
from common.run import folder
from common.run.members import read_members
from common.text import console
from common.trust import also, check

if TYPE_CHECKING:
    from common.deliver.held_out import Pictures
    from common.run.predictor import Ensemble

STAGING = ".export-"  # begins the folder that files are written into until they have passed
LOSS = 0.005  # of top-1 that int8 may cost


@dataclass
class Export(OnRun):
    """Options of `export`."""

    tta: bool = (
        False  # with the test-time views of the recipe in the graph, which then takes as many times longer
    )
    batch_size: int = (
        32  # of the larger batch that is checked and timed; the smaller one has a single picture
    )
    input: str | None = None  # folder of class folders to check by; null: the run's own held-out part
    out: str | None = None  # folder; null: export/ in the run folder
    member: int | None = None  # of several models only this one, from 0; null: their mean
    images: int = 500  # at most so many are checked
    calibration: int = 128  # training pictures that give int8 its ranges; 0: no int8
    seconds: float = 2  # that each form is timed for
    threads: int | None = None  # CPU threads that forms are timed with; null: one for each core
    compile: bool = False  # time torch.compile too, which takes minutes

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("batch_size", self.batch_size, 2)
        at_least("images", self.images, 1)
        at_least("calibration", self.calibration, 0)
        above_zero("seconds", self.seconds)


class Mismatch(Exception):
    """An exported file does not say what the model says."""


def export(options: Export) -> Path:
    """Write `model.onnx`, `model.pt2`, `model_int8.onnx` if it is worth it, and `export.json`; returns their folder.

    Raises Mismatch if a file says something else than the model, PodiumError for mistakes of the user.
    """
    also(options.trust)
    run = find_run(options.run_dir, options.competition)
    config = run_config(run, options.data)
    out = Path(options.out) if options.out else check_inside(run / "export", run)
    if out.exists() and not out.is_dir():
        raise PodiumError(f"OUT: {out} is a file; export writes several files into a folder")

    from common.deliver.forms import all_forms  # imports torch, which mistakes until here need not wait for
    from common.deliver.held_out import pictures

    ensemble = _one_input(run, options)
    checked_on = pictures(
        ensemble, options.input, options.data, options.images, options.calibration, options.max_pixels
    )
    make_folder(out)
    for left in out.glob(f"{STAGING}*"):  # by a command that was ended
        shutil.rmtree(left, ignore_errors=True)
    with _room_in(out), TemporaryDirectory(prefix=STAGING, dir=out) as staging:
        forms = all_forms(
            ensemble,
            _about(run, config, ensemble),
            Path(staging),
            calibration=checked_on.calibration,
            batch_size=options.batch_size,
            threads=options.threads or cores(),
            compile=options.compile,
        )
        with Activity("comparing and timing"):
            rows = _measured(forms, checked_on, options)
        rejected = _deliver(Path(staging), out, rows)
    said = {
        "run": str(run),
        "how": ensemble.how,
        "checked_on": checked_on.what,
        "images": len(checked_on.labels),
    }
    folder.write_json(out / "export.json", {**said, "forms": rows})
    _print(rows, said, out, options)
    if rejected:
        raise Mismatch(
            f"{', '.join(map(str, rejected))} differs from the model of {run}: do not use it, and report this"
        )
    return out


@contextmanager
def _room_in(out: Path) -> Iterator[None]:
    """A disk that takes nothing more as one message."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise unwritable(out, error) from error


def _one_input(run: Path, options: Export) -> "Ensemble":
    """The run's models on the CPU, or one of them: such as see the same pictures."""
    from common.run.predictor import Ensemble

    check(folder.load_config(run), run / "config.yaml")
    mean, members = read_members(run, options.checkpoint)
    if options.member is not None:
        if not 0 <= options.member < len(members):
            raise PodiumError(f"member must be one of 0 to {len(members) - 1}, got {options.member}")
        members = [members[options.member]]
    ensemble = Ensemble(mean, members, options.tta)
    if len(ensemble.preprocessings) > 1:
        print(
            f"the {len(members)} models see pictures that are prepared differently, and a graph has one input: "
            f"exported is the first, {members[0].job} (another by ARGS=member=1)"
        )
        ensemble = Ensemble(mean, members[:1], options.tta)
    for module in ensemble.modules:
        module.cpu()
    return ensemble


def _about(run: Path, config: Mapping[str, Any], ensemble: "Ensemble") -> dict[str, Any]:
    """What the files carry; see Exported."""
    from common.deliver.exported import KEYS, VERSION

    about = {
        "version": VERSION,
        "competition": config["competition"],
        "run": run.resolve().name,
        "how": ensemble.how,
        "class_names": ensemble.class_names,
        "preprocessing": ensemble.preprocessings[0],
        "submission": config["submission"],
        "service": config.get("service"),
        "page": config.get("page", {}),
        "sample": bool(config["data"].get("sample")),
    }
    assert tuple(about) == KEYS
    return about


def _measured(forms: Mapping[str, Predict | str], on: "Pictures", options: Export) -> list[dict[str, Any]]:
    """One row for each form; parity in batches and, for the first batch, picture by picture too."""
    usable = {name: form for name, form in forms.items() if not isinstance(form, str)}
    expected = in_batches(usable[EAGER], on.images, options.batch_size)
    fast = speeds(usable, on.images, options.seconds, options.batch_size)
    rows: list[dict[str, Any]] = []
    for name, form in forms.items():
        if isinstance(form, str):
            rows.append({"form": name, "note": form})
            continue
        found = in_batches(form, on.images, options.batch_size)
        first = on.images[: options.batch_size]
        single = in_batches(form, first, 1)
        whole = parity(expected, found)
        alone = parity(expected[: len(first)], single)
        rows.append(
            {
                "form": name,
                "largest_difference": max(whole.largest, alone.largest),
                "same_class": min(whole.agreement, alone.agreement),
                "equal": whole.equal and alone.equal,
                "top1": float((found.argmax(axis=1) == on.labels).mean()),
                "milliseconds": round(fast[name].milliseconds, 2),
                "images_per_second": round(fast[name].images_per_second, 1),
                "note": "",
            }
        )
        if name == INT8:  # the file in 32 bits is what it was made from
            plain = fast[ONNX]
            rows[-1]["gain"] = [gain(plain.single, fast[name].single), gain(plain.batch, fast[name].batch)]
    return rows


def _deliver(staging: Path, out: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Move what passed into place and name what did not; sizes and verdicts are added to the rows."""
    by_name = {row["form"]: row for row in rows}
    rejected = []
    for form, name in FILES.items():
        for old in (out / name, out / f"rejected_{name}"):
            old.unlink(missing_ok=True)
        row, made = by_name.get(form), staging / name
        if row is None or "equal" not in row:
            continue
        row["megabytes"] = round(made.stat().st_size / 1e6, 2)
        target = out / name
        if form == INT8:
            row["note"] = _verdict(row, by_name[ONNX], by_name[EAGER]["top1"])
            if not row["note"].startswith("kept"):
                continue
        elif not row["equal"]:
            row["note"], target = "DIFFERS", out / f"rejected_{name}"
            rejected.append(target)
        made.replace(target)
    return rejected


def _verdict(int8: Mapping[str, Any], fp32: Mapping[str, Any], trained: float) -> str:
    """Whether int8 is worth keeping: made from a sound file, surely faster in both ways, at most LOSS of top-1 worse.

    trained: top-1 of the model as training left it. Surely faster than `fp32`, the file that it was made from, is what
    has the whole interval of its `gain` above 1.
    """
    if not fp32["equal"]:
        return "not kept: its source differs"
    lost = round(trained - int8["top1"], 6)
    if not lost <= LOSS:
        return f"not kept: {100 * lost:.1f} points of top-1 lost"
    said = []
    for (times, low, high), how in zip(int8["gain"], ("with one picture", "in batches"), strict=True):
        said.append(f"{times:.2f} ({low:.2f} to {high:.2f}) times as fast {how}")
        if low <= 1:
            return f"not kept: not surely faster, {said[-1]}"
    return f"kept: {', '.join(said)}"


def _print(rows: list[dict[str, Any]], said: Mapping[str, Any], out: Path, options: Export) -> None:
    terminal = console(soft_wrap=True)
    terminal.print(
        f"{said['run']} ({said['how']}), checked on {said['images']} pictures: {said['checked_on']}"
    )
    heads = ["", "MB", "difference", "same class", "top-1", "ms", "images/s"]
    table = Table(caption=f"ms: one picture; images/s: in batches of {options.batch_size}")
    for head in heads:
        table.add_column(head, no_wrap=True)
    for row in rows:
        cells = ["–"] * 6
        if "equal" in row:
            cells = [
                str(row.get("megabytes", "–")),
                f"{row['largest_difference']:.1e}",
                f"{100 * row['same_class']:.1f} %",
                f"{100 * row['top1']:.1f} %",
                f"{row['milliseconds']:.2f}",
                f"{row['images_per_second']:.0f}",
            ]
        table.add_row(row["form"], *cells)
    terminal.print(table)
    for row in rows:
        if row["note"]:
            terminal.print(f"{row['form']}: {row['note']}")
    terminal.print(f"written to {out}")
