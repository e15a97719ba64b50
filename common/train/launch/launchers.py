"""Engines for many jobs: one after the other, on threads of this machine, on a Ray cluster, under Slurm.

Each command runs as a process of its own and ends with the one that launched it. A launcher returns exit codes
in the order of the commands: 128 + n where signal n ended a process, None where one was never started. It never
raises because a command failed. SIGTERM and SIGINT are passed on to what runs, and nothing more is started.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from typing import Any

from common.activity import Activity
from common.config.schema import at_least
from common.cores import SHARE, cores
from common.cores import gpus as gpus_here
from common.errors import PodiumError
from common.train.launch.commands import Batch
from common.train.launch.remote_worker import Attended, attend, follow

PATIENCE = (
    120.0  # seconds that a command lives on elsewhere when its launcher is gone; network folders are slow
)
RAY_NOTES = Path("runs/ray")
Codes = list[int | None]


class Launcher:
    """Runs commands; each engine says how, by `run`."""

    def __call__(
        self,
        commands: Sequence[Sequence[str]],
        stop_on_failure: bool = False,
        on_start: Callable[[int], None] | None = None,
        on_end: Callable[[int, int], None] | None = None,
    ) -> Codes:
        """Run all commands; `on_start(number)` and `on_end(number, code)` are called in between, one at a time."""
        with Activity("running jobs", total=len(commands)) as activity:

            def ended(number: int, code: int) -> None:
                activity.done += 1
                if on_end is not None:
                    on_end(number, code)

            batch = Batch(commands, stop_on_failure, on_start, ended)
            self.run(batch)
        return batch.codes

    def run(self, batch: Batch) -> None:
        """Run the batch's commands; their codes are kept in it."""
        raise NotImplementedError


class Serial(Launcher):
    """One command after the other, each with the whole machine."""

    def run(self, batch: Batch) -> None:
        with batch.signals():
            for number in range(len(batch.commands)):
                batch.run(number)


class Joblib(Launcher):
    """As many commands at a time as asked for, on this machine: each has its share of the cores, and one GPU.

    Args:
        jobs: at a time; -1: as many as there are GPUs, or cores where there are none; -2: one less, and so on.
    """

    def __init__(self, jobs: int = -1) -> None:
        if jobs == 0:
            raise PodiumError("launcher.jobs must be at least 1, or -1 for as many as there are cores; got 0")
        self.jobs = jobs
        _need("joblib")

    def run(self, batch: Batch) -> None:
        joblib = import_module("joblib")
        cards = gpus_here()
        room = self.jobs if self.jobs > 0 else (len(cards) or cores()) + 1 + self.jobs
        jobs = max(1, min(room, len(batch.commands)))
        threads = _threads(cores() // jobs)
        places: Queue[dict[str, str]] = Queue()
        for place in range(jobs):
            card = {"CUDA_VISIBLE_DEVICES": cards[place % len(cards)]} if cards else {}
            places.put(threads | card)

        def run(number: int) -> None:
            place = places.get()
            batch.run(number, place, beside=jobs > 1)
            places.put(place)

        with batch.signals(), joblib.parallel_config(backend="threading"):
            joblib.Parallel(n_jobs=jobs, batch_size=1)(
                joblib.delayed(run)(number) for number in range(len(batch.commands))
            )


class Ray(Launcher):
    """A task of a Ray cluster for each command. All hosts must see this folder under its path here.

    Args:
        address: of the cluster, or "auto"; null: a cluster on this machine, for this call.
        cpus: that a command takes, >= 1.
        gpus: that a command takes, >= 0; shares such as 0.5 are allowed; null: one where this machine has GPUs.
    """

    def __init__(self, address: str | None = None, cpus: int = 1, gpus: float | None = None) -> None:
        at_least("launcher.cpus", cpus, 1)
        if gpus is not None and not gpus >= 0:
            raise PodiumError(f"launcher.gpus must be at least 0 or null, got {gpus}")
        self.address, self.cpus = address, cpus
        self.gpus = min(1, len(gpus_here())) if gpus is None else gpus
        _need("ray")

    def run(self, batch: Batch) -> None:
        """Raises PodiumError where the cluster cannot be reached or is too small for one command."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray = import_module("ray")
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        RAY_NOTES.mkdir(parents=True, exist_ok=True)
        notes = Path(tempfile.mkdtemp(dir=RAY_NOTES)).resolve()
        try:
            self._check_room(ray)
            task = ray.remote(attend).options(max_retries=0, num_cpus=self.cpus, num_gpus=self.gpus)
            with batch.signals():
                follow(
                    batch,
                    notes,
                    [_of_ray(ray, task.remote(*words)) for words in _tasks(batch, notes, self.cpus)],
                )
        finally:
            shutil.rmtree(notes, ignore_errors=True)
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        here = {
            "include_dashboard": False,
            "object_store_memory": 100_000_000,
        }  # only exit codes go through it
        try:
            ray.init(
                self.address, log_to_driver=True, logging_level="warning", **({} if self.address else here)
            )
        except Exception as error:
            raise PodiumError(
                f"launcher.address={self.address}: no Ray cluster answers there ({error}); start one by "
                "`ray start --head`, or leave launcher.address out for one on this machine"
            ) from error

    def _check_room(self, ray: Any) -> None:
        if self.address is not None:
            return  # a cluster may grow
        for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus)):
            there = ray.cluster_resources().get(name, 0)
            if wanted > there:
                raise PodiumError(f"launcher.{name.lower()}s={wanted}: this machine has {there:g}")


class Slurm(Launcher):
    """A job of Slurm for each command, submitted as one array. The nodes must see this folder.

    Args:
        partition: null: the cluster's default.
        minutes: that a command may take, >= 1.
        cpus: for a command, >= 1.
        gpus: for a command, >= 0.
        memory_gb: for a command, >= 1; null: the cluster's default.
        cluster: null: Slurm; "local": submitit's stand-in on this machine.
        folder: of submitit's logs.
    """

    def __init__(
        self,
        partition: str | None = None,
        minutes: int = 1440,
        cpus: int = 4,
        gpus: int = 0,
        memory_gb: int | None = None,
        cluster: str | None = None,
        folder: str = "runs/slurm",
    ) -> None:
        for name, value, least in (("minutes", minutes, 1), ("cpus", cpus, 1), ("gpus", gpus, 0)):
            at_least(f"launcher.{name}", value, least)
        at_least("launcher.memory_gb", memory_gb, 1, or_null=True)
        if cluster not in (None, "local"):
            raise PodiumError(f'launcher.cluster must be null (Slurm) or "local", got {cluster!r}')
        _need("submitit", extra="slurm")
        if cluster is None and shutil.which("srun") is None:
            raise PodiumError("launcher=slurm: there is no srun here; start from a host of the cluster")
        self.partition, self.minutes, self.cpus, self.gpus = partition, minutes, cpus, gpus
        self.memory_gb, self.cluster, self.folder = memory_gb, cluster, folder

    def run(self, batch: Batch) -> None:
        """Raises PodiumError where Slurm refuses the jobs."""
        submitit = import_module("submitit")
        folder = Path(self.folder).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        notes = Path(tempfile.mkdtemp(dir=folder, prefix="notes_"))
        executor = submitit.AutoExecutor(folder / "%j", cluster=self.cluster or "slurm")
        asked = {
            "slurm_partition": self.partition,
            "gpus_per_node": self.gpus or None,
            "mem_gb": self.memory_gb,
        }
        executor.update_parameters(
            name="podium",
            timeout_min=self.minutes,
            cpus_per_task=self.cpus,
            tasks_per_node=1,
            **{name: value for name, value in asked.items() if value is not None},
        )
        try:
            with batch.signals():
                try:
                    with executor.batch():
                        jobs = [executor.submit(attend, *words) for words in _tasks(batch, notes, self.cpus)]
                except Exception as error:
                    raise PodiumError(f"launcher=slurm: the jobs could not be submitted: {error}") from error
                follow(batch, notes, [_of_submitit(job) for job in jobs])
        finally:
            shutil.rmtree(notes, ignore_errors=True)


def _tasks(batch: Batch, notes: Path, cpus: int) -> list[tuple[Any, ...]]:
    """The arguments of `attend` for each command: to run as if it had been started here."""
    environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **_threads(cpus)}
    return [
        (command, number, notes, os.getcwd(), environment, PATIENCE)
        for number, command in enumerate(batch.commands)
    ]


def _threads(count: int) -> dict[str, str]:
    return {SHARE: os.environ.get(SHARE, str(max(1, count)))}


def _of_ray(ray: Any, task: Any) -> Attended:
    return Attended(
        done=lambda: bool(ray.wait([task], timeout=0)[0]),
        result=lambda: ray.get(task),
        cancel=lambda: ray.cancel(task),
    )


def _of_submitit(job: Any) -> Attended:
    return Attended(done=job.done, result=job.result, cancel=lambda: job.cancel(check=False))


def _need(package: str, extra: str | None = None) -> None:
    name = extra or package
    if find_spec(package) is None:
        raise PodiumError(
            f"launcher={name} needs the package {package}, which is not installed: make install-{name}"
        )
