"""`bench=many_classes`: memory and time of a head and of scores at the size of AliProducts, each in a fresh process."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.shared import table
from benchmarks.shared.memory import memory, peak, reset_peak
from common.config.options import parse
from common.config.schema import at_least, one_of

MB = 1e6
LEARN = ("one step, all logits", "one step, deferred logits")
SCORE = ("GAP and MAP from arrays", "GAP and MAP from a table")


@dataclass
class ManyClasses:
    """Options of `bench=many_classes`."""

    competition: str = "aliproducts"  # the one that has so many
    classes: int = 50_030
    features: int = 2_048
    batch: int = 1_024
    chunk: int = 64
    images: int = 2_500_000  # that are scored
    threads: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        one_of("competition", self.competition, ("aliproducts",))
        for name in ("classes", "features", "batch", "chunk", "images", "threads"):
            at_least(name, getattr(self, name), 1)


def main(words: Sequence[str]) -> None:
    """Measure, print the table and write it to `runs/bench/<time>/many_classes.{csv,md}`."""
    options = parse(ManyClasses, list(words))
    notes = [
        f"{options.classes} classes; each row is a fresh process with {options.threads} threads",
        f"step: cross entropy of {options.batch} rows of {options.features} features, linear head, Adam (fused), on "
        f"{options.device}; the second step, with its gradients and the optimizer's state; deferred: {options.chunk} "
        "rows at a time",
        f"scores: {options.images} predictions; the table is Parquet with the 32 best classes of each",
        "glibc gives freed arrays back at once (MALLOC_MMAP_THRESHOLD_); by default it keeps some of them",
        "MB: 10^6 bytes; above: beyond what the process held before and, of a step, beyond weights, gradients and "
        "state",
    ]
    out = table.new_folder()
    rows = [{"what": what, **measured(what, options)} for what in (*LEARN, *SCORE)]
    plain, deferred = (row["above MB"] for row in rows[:2])
    if plain > 0:
        notes.append(f"deferred / all logits, MB above: {deferred / plain:.2f}")
    table.write(out, "many_classes", rows, notes)
    print((out / "many_classes.md").read_text(encoding="utf-8"))
    print(f"written to {out}")


def measured(what: str, options: ManyClasses) -> dict[str, Any]:
    """What a fresh process found."""
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "benchmarks.many_classes", what, json.dumps(asdict(options))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": root}
    environment["MALLOC_MMAP_THRESHOLD_"] = (
        "1000000"  # glibc then gives back what is freed, instead of keeping some
    )
    done = subprocess.run(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def learn(options: ManyClasses, deferred: bool) -> dict[str, Any]:
    """Two steps of head, loss and Adam; the second counts."""
    import torch
    from torch.nn import functional as F

    from common.model.deferred import DeferredLogits, losses
    from common.model.losses import CrossEntropy

    torch.set_num_threads(options.threads)
    device = torch.device(options.device)

    def run(classes: int, features: int, batch: int, steps: int) -> tuple[float, float, int]:
        torch.manual_seed(0)
        head = torch.nn.Linear(features, classes, device=device)
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-3, fused=True)
        inputs = torch.randn(batch, features, device=device).requires_grad_()
        labels = torch.arange(batch, device=device) % classes
        for step in range(steps):
            if step == steps - 1:
                reset_peak(device)
                start = time.perf_counter()
            optimizer.zero_grad()
            inputs.grad = None
            if deferred:
                outputs: Any = DeferredLogits(inputs, head.weight, head.bias, chunk=options.chunk)
            else:
                outputs = F.linear(inputs, head.weight, head.bias)
            loss = losses(CrossEntropy(), outputs, labels).mean()
            del outputs
            loss.backward()
            optimizer.step()
        value = loss.item()  # waits for the device
        held = 4 * sum(weight.nbytes for weight in head.parameters())  # weights, gradients and two moments
        return value, time.perf_counter() - start, held

    run(100, 64, 8, 2)  # loads what is loaded late
    before = memory(device)
    value, seconds, held = run(options.classes, options.features, options.batch, 2)
    return _found(seconds, peak(device), before + held) | {"loss": round(value, 5)}


def score_arrays(options: ManyClasses) -> dict[str, Any]:
    import numpy as np

    from common.task.long_tail_scores import long_tail_scores

    labels, predicted, confidences = _predictions(options)
    before = reset_peak()
    start = time.perf_counter()
    found = long_tail_scores(labels, predicted, confidences.astype(np.float32), options.classes)
    return _found(time.perf_counter() - start, peak(), before) | {"gap": round(found["gap"], 5)}


def score_table(options: ManyClasses) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from common.data.predictions import read_top
    from common.task.long_tail_scores import long_tail_scores

    labels, predicted, confidences = _predictions(options)
    schema = {"id": pa.string(), "label": pa.int64(), "classes": pa.list_(pa.int32(), 32)}
    schema |= {"probabilities": pa.list_(pa.float32(), 32), "others": pa.float32()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        written = pa.schema(schema, metadata={"classes": str(options.classes)})
        with pq.ParquetWriter(path, written) as writer:
            for start in range(0, options.images, 1024):
                rows = slice(start, min(start + 1024, options.images))
                count = rows.stop - rows.start
                classes = (predicted[rows, None] + np.arange(32)).astype(np.int32) % options.classes
                kept = confidences[rows, None] * 0.5 ** np.arange(32)
                columns = [
                    pa.array([f"{number}.jpg" for number in range(rows.start, rows.stop)]),
                    pa.array(labels[rows]),
                    pa.FixedSizeListArray.from_arrays(pa.array(classes.ravel()), 32),
                    pa.FixedSizeListArray.from_arrays(pa.array(kept.astype(np.float32).ravel()), 32),
                    pa.array(np.zeros(count, np.float32)),
                ]
                writer.write_table(pa.table(columns, schema=written), row_group_size=1024)
        del labels, predicted, confidences
        before = reset_peak()
        begin = time.perf_counter()
        top = read_top(path)
        columns = [top[name].to_numpy() for name in ("label", "predicted", "probability")]
        found = long_tail_scores(*columns, options.classes)
        return _found(time.perf_counter() - begin, peak(), before) | {"gap": round(found["gap"], 5)}


def _predictions(options: ManyClasses) -> tuple[Any, Any, Any]:
    """Labels of a long tail, what is predicted, right where it is confident, and float32 confidences."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = (options.classes * rng.random(options.images) ** 3).astype(np.int64)
    confidences = rng.random(options.images, dtype=np.float32).clip(0.01)
    right = rng.random(options.images) < confidences
    predicted = np.where(right, labels, (labels + 1) % options.classes)
    return labels, predicted, confidences


def _found(seconds: float, highest: int, allowed: int) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 2),
        "peak MB": round(highest / MB),
        "above MB": round((highest - allowed) / MB),
    }


TASKS: dict[str, Callable[[ManyClasses], dict[str, Any]]] = {
    LEARN[0]: lambda options: learn(options, deferred=False),
    LEARN[1]: lambda options: learn(options, deferred=True),
    SCORE[0]: score_arrays,
    SCORE[1]: score_table,
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](ManyClasses(**json.loads(sys.argv[2])))))
