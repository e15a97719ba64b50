"""`bench=serve`: the service under load, beside a loop of decode, fit and model without HTTP, in one run.

The service is a process of its own, clients are threads of this one. Each client sends its next picture when it has the
answer to the last; pictures are in memory.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.shared import table
from common.config.options import parse
from common.config.schema import above_zero, at_least
from common.data.reading.reader import images_of
from common.errors import PodiumError
from common.run import environment
from common.serve.limits import Limits
from common.serve.pictures import prepare
from common.serve.served import Model, find

AIM = 0.8  # of the loop's pictures a second
PAUSE = 0.1  # seconds; a client that comes again at once would measure how fast a service refuses
LOOP, BATCHED, SINGLE, FLOOD = "loop without HTTP", "service", "service, one by one", "service, flooded"
NOTES = (
    "loop without HTTP: threads decode and fit the next batch while the model takes this one",
    "clients' CPU: what this process, the clients, took of all cores meanwhile; the service had to do without it",
    "the loop is measured before and after the service, and is the mean of both",
    "lost: neither an answer nor a 503; refused: 503, after which a client waits for 0.1 s",
    "threads of a layer sleep while they wait for each other (OMP_WAIT_POLICY=PASSIVE), in loop and service",
)


@dataclass
class Serve:
    """Options of `bench=serve`."""

    run_dir: str | None = None  # run folder or exported file
    data: dict[str, Any] = field(default_factory=dict)  # root: folder of pictures
    seconds: float = 60  # of each measurement, > 0
    clients: int = 16  # at a time, >= 1
    flood: int = 128  # clients at a time, >= 1, more than the service has places
    batch_size: int = 16  # of service and loop, >= 1
    threads: int | None = None  # CPU threads of the model; null: as many as there are cores
    requests: int = 10_000  # after which memory is looked at again
    pictures: int = 200  # of the folder, evenly spread, >= 1

    def __post_init__(self) -> None:
        for name in ("clients", "flood", "batch_size", "pictures"):
            at_least(name, getattr(self, name), 1)
        above_zero("seconds", self.seconds)
        if not (self.run_dir and self.data.get("root")):
            raise PodiumError("name a run or an exported file by RUN=, and a folder of pictures by DATA=")


def main(words: Sequence[str]) -> None:
    """Measure, print the table and write it to `runs/bench/<time>/serve.{csv,md}`."""
    options = parse(Serve, words)
    files = images_of(Path(options.data["root"]))
    step = max(1, len(files) // options.pictures)
    pictures = [file.read_bytes() for file in files[::step][: options.pictures]]
    out = table.new_folder()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the service does
    model = find(options.run_dir, None, None, False, options.threads).load()
    loops = [loop_rate(model, options, pictures)]
    with service(options, options.batch_size) as at:
        rows = [loaded(BATCHED, at, pictures, options.clients, options.seconds)]
        rows.append(loaded(FLOOD, at, pictures, options.flood, min(options.seconds, 20)))
        memory = memory_over(at, pictures, options)
    with service(options, 1) as at:
        rows.append(loaded(SINGLE, at, pictures, options.clients, options.seconds))
    loops.append(loop_rate(model, options, pictures))
    for row in rows:
        row["of the loop"] = round(row["requests/s"] / mean(loops), 3)
    rows.insert(0, {"": LOOP, "requests/s": round(mean(loops), 1)})
    machine = environment.describe()
    size = sum(map(len, pictures)) / len(pictures) / 1000
    notes = [
        *NOTES,
        f"{options.run_dir}, {len(pictures)} pictures of {size:.0f} kB, {options.clients} clients, {memory}",
        f"batches of at most {options.batch_size}; {machine['system']}, {machine['cpus']} cores",
    ]
    table.write(out, "serve", rows, notes)
    print((out / "serve.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def loop_rate(model: Model, options: Serve, pictures: list[bytes]) -> float:
    """Pictures a second without HTTP."""
    limits = Limits()
    with ThreadPoolExecutor() as pool:

        def submit(start: int) -> list[Any]:
            chosen = [pictures[number % len(pictures)] for number in range(start, start + options.batch_size)]
            return [pool.submit(prepare, data, model.preprocessings, limits) for data in chosen]

        done, pending = 0, submit(0)
        begin = 0.0
        while not begin or time.perf_counter() - begin < options.seconds:
            following = submit(done + options.batch_size)
            ready = [future.result() for future in pending]
            model.probabilities([np.stack(kind) for kind in zip(*ready, strict=True)])
            pending = following
            if begin:
                done += options.batch_size
            else:
                begin = time.perf_counter()  # the first batch warms up
        rate = done / (time.perf_counter() - begin)
    print(f"{LOOP}: {rate:.0f} pictures/s", flush=True)
    return rate


@dataclass
class At:
    """A service that runs."""

    port: int
    process: "subprocess.Popen[str]"

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def service(options: Serve, batch_size: int) -> Iterator[At]:
    words = [f"run_dir={options.run_dir}", "port=0", f"batch_size={batch_size}"]
    words += [f"threads={options.threads}"] if options.threads else []
    process = subprocess.Popen(
        [sys.executable, "-m", "common", "serve", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if "http" not in said:
            raise PodiumError(f"the service did not start: {said}")
        at = At(int(said.rsplit(":", 1)[1]), process)
        with socket.create_connection(("127.0.0.1", at.port)) as connection:
            while exchange(connection, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n") != 200:
                if process.poll() is not None:
                    raise PodiumError("the service ended while it loaded the model")
                time.sleep(0.2)
        yield at
    finally:
        process.terminate()
        process.wait()


def loaded(name: str, at: At, pictures: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """A row: what `clients` at a time got in `seconds`."""
    ask(at, pictures, clients, seconds=min(3, seconds))  # warm
    cpu, begin = time.process_time(), time.perf_counter()
    latencies, statuses = ask(at, pictures, clients, seconds=seconds)
    wall = time.perf_counter() - begin
    share = (time.process_time() - cpu) / wall / (environment.describe()["cpus"] or 1)
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]) * 1000 if latencies else (np.nan,) * 3
    rate = statuses[200] / wall
    print(f"{name}: {rate:.0f} requests/s", flush=True)
    return {
        "": name,
        "requests/s": round(rate, 1),
        "of the loop": None,
        "p50 ms": round(p50, 1),
        "p95 ms": round(p95, 1),
        "p99 ms": round(p99, 1),
        "refused": statuses[503],
        "lost": statuses.total() - statuses[200] - statuses[503],
        "clients' CPU": f"{100 * share:.0f} %",
        "aim": AIM if name == BATCHED else None,
    }


def memory_over(at: At, pictures: list[bytes], options: Serve) -> str:
    """In words: resident memory before and after many requests."""
    before = at.megabytes
    _, statuses = ask(at, pictures, options.clients, requests=options.requests)
    return f"resident memory {before:.0f} MB, after {statuses[200]} more requests {at.megabytes:.0f} MB"


def ask(
    at: At, pictures: list[bytes], clients: int, seconds: float = 1e9, requests: int = 10**9
) -> tuple[list[float], Counter[int]]:
    """Seconds of each answer with 200, and how many there were of each status; 0: the connection broke."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    until, left, lock = time.perf_counter() + seconds, iter(range(requests)), threading.Lock()

    def next_number() -> int | None:
        with lock:
            return next(islice(left, 1), None) if time.perf_counter() < until else None

    def client() -> None:
        connection = socket.create_connection(("127.0.0.1", at.port))
        while (number := next_number()) is not None:
            body = pictures[number % len(pictures)]
            head = f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
            begin = time.perf_counter()
            try:
                status = exchange(connection, head.encode() + body)
            except OSError:
                status = 0
                connection = socket.create_connection(("127.0.0.1", at.port))
            if status == 200:
                latencies.append(time.perf_counter() - begin)
            with lock:
                statuses[status] += 1
            if status == 503:
                time.sleep(PAUSE)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies, statuses


def exchange(connection: socket.socket, request: bytes) -> int:
    """Send one request on a connection that stays; the status of its answer, which is read whole."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _received(connection)
    return int(head.split(maxsplit=2)[1])


def _received(connection: socket.socket) -> bytes:
    if not (data := connection.recv(65536)):
        raise ConnectionError("the service closed the connection")
    return data
