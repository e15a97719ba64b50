"""The run folder: where it is, who holds it, and writing into it without ever leaving half a file."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from common import renamed, trust
from common.config.command import command
from common.config.shape import check_shape
from common.errors import PodiumError, reading
from common.files import make_folder, unwritable, write_text, written
from common.run import plain_yaml, shapes

RUNS = Path("runs")
DATA = Path("data")  # what is made of a competition's data, or drawn in their place
CONTENT = " content "  # stands in what is said of a place that holds something else than it did
LARGEST = 2_000_000  # bytes of a config.yaml
PER_CALL = {"run_dir", "new", "launcher", "on_failure"}  # keys that say where and how to run, not what


Differ = Callable[[Path, dict[str, Any]], list[str]]  # how a run differs from a config, in words, a line each


def choose(config: dict[str, Any], differ: Differ | None = None) -> tuple[Path, str]:
    """The folder that `train` works in, and a sentence that says why this one.

    It is that of `begun`, or the one that `run_dir` names, or else a new one, which is made:
    `runs/<competition>/<time>`, with `_sample` behind it if it trains on sample data.
    """
    if (run := begun(config, differ)) is not None:
        if not config["run_dir"]:
            return run, f"going on with the unfinished run {run} (NEW=1 starts afresh)"
        return run, f"finished already: {run}" if is_done(run) else f"going on with {run}"
    if config["run_dir"]:
        run = Path(config["run_dir"])
        return run, f"new run {run}"
    competition = config["competition"]
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + ("_sample" if config["data"].get("sample") else "")
    run, count = RUNS / competition / stamp, 1
    make_folder(run.parent)
    while not _made(run):  # now, since another may be started in the same second
        count += 1
        run = RUNS / competition / f"{stamp}_{count}"
    return run, f"new run {run}"


def begun(config: dict[str, Any], differ: Differ | None = None) -> Path | None:
    """The run that a config goes on with: that of `run_dir`, else the newest unfinished one that does not differ.

    differ: None: by the two configurations alone.

    Raises PodiumError where the run of `run_dir` differs, with how.
    """
    differ = differ or (lambda run, now: differences(load_config(run, shapes.Begun), now))
    if config["run_dir"]:
        run = Path(config["run_dir"])
        if not (run / "config.yaml").exists():
            return None
        if differing := differ(run, config):
            raise PodiumError(
                f"{run} was started with another configuration. The keys that differ (there → here):\n  "
                + "\n  ".join(differing)
                + "\nGive the same settings to go on with it, or another RUN= for a new run"
            )
        return run
    for run in () if config["new"] else reversed(runs_of(config["competition"])):
        if is_done(run) or (run / "blend.json").exists():
            continue
        differing = differ(run, config)
        if not differing:
            return run
        if len(differing) == 1 and CONTENT in differing[0]:
            print(f"not going on with the unfinished run {run}: {differing[0]}", flush=True)
    return None


def _made(run: Path) -> bool:
    """Make a folder; False if there is one."""
    try:
        run.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable(run, error) from error
    return True


def runs_of(competition: str) -> list[Path]:
    """The run folders of a competition, whatever they are called, by when they were begun, oldest first."""
    return [path.parent for path in _by_time((RUNS / competition).glob("*/config.yaml"))]


def newest_finished(competition: str) -> Path:
    """The run that a command without RUN= works on: that which finished last. Raises PodiumError if there is none."""
    finished = [run for run in runs_of(competition) if is_done(run) and not _is_smoke(run)]
    if not finished:
        raise PodiumError(
            f"there is no finished run of {competition} in {RUNS / competition}: name one by RUN=<folder>, "
            f"or train one by {command('train', COMP=competition)}"
        )
    return _by_time(run / "done" for run in finished)[-1].parent


def _by_time(files: Iterable[Path]) -> list[Path]:
    """By when they were written, each once, oldest first; files of one moment by name."""
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path))


def _is_smoke(run: Path) -> bool:
    return bool(load_config(run, shapes.Begun).get("trainer", {}).get("fast_dev_run"))


def is_done(folder: Path) -> bool:
    """Whether a run or a job has finished: its file `done` is written last."""
    return (folder / "done").exists()


def load_config(run: Path, shape: Any = shapes.Config) -> dict[str, Any]:
    """The resolved configuration of a run or a job, as it stands there: what it names may be anybody's.

    Raises PodiumError if `run` is none, or if the file is damaged.
    """
    path = run / "config.yaml"
    if not path.exists():
        raise PodiumError(f"{run} is no run folder: there is no {path}")
    trust.run_folder(run.parent.parent if run.parent.name == "jobs" else run)
    with reading(path):
        if path.stat().st_size > LARGEST:
            raise PodiumError(f"larger than {LARGEST:,} bytes")
        found = plain_yaml.load(path.read_text(encoding="utf-8"))
        check_shape(found, shape, path)
    return renamed.current(found)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """`key: old → new` for every key in which two configurations differ, those of a single call left out."""
    found = []
    # choices say how the values came about; equal values are an equal configuration
    for key in sorted({*old, *new} - (PER_CALL | {"choices"} if not prefix else set()), key=str):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} → {after}")
    return found


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write `config.yaml`, the keys of a single call left out."""
    kept = {key: value for key, value in config.items() if key not in PER_CALL}
    write_text(folder / "config.yaml", plain_yaml.dump(kept))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def load_json(path: Path, shape: Any = dict[str, Any]) -> Any:
    """What a file says. Raises PodiumError if it is damaged, or not as `shape` says: see common/config/shape.py."""
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        check_shape(found, shape, path)
    return found


def copy(source: Path, target: Path) -> None:
    """Copy a file whole or not at all."""
    with written(target) as partial:
        shutil.copyfile(source, partial)


def predictions_path(job: Path, part: str) -> Path:
    """Where a job's predictions of a part (valid, choose, score) are."""
    return job / ("predictions.parquet" if part == "valid" else f"predictions_{part}.parquet")


class InUse(PodiumError):
    """Another process works in a folder."""


def in_use(folder: Path) -> str | None:
    """Who works in a folder, as a sentence; None if nobody does."""
    try:
        with lock(folder):
            return None
    except InUse as error:
        return str(error)


@contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder` against a second start, or wait for the first; the lock goes with the process, however it ends."""
    make_folder(folder)
    try:
        opened = os.fdopen(os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")
    except OSError as error:
        raise PodiumError(
            f"{folder} cannot be written to: {error.strerror or error}; name another by RUN="
        ) from error
    with opened as file:
        try:
            fcntl.lockf(
                file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
            )  # not flock: loader workers would inherit it
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InUse(
                f"{folder} is in use by {holder}: wait for it, or start another run with NEW=1"
            ) from None
        with suppress(OSError):  # it is held, though a full disk keeps no name of who holds it
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), f"process {os.getpid()} on {os.uname().nodename}".encode())
        yield
