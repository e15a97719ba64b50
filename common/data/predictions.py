"""Tables of predictions, written and read in bounded memory.

Parquet with the columns id (str), label (int64), probabilities (K float32) and, where several models predicted, fold
(int64). Above 512 classes a row keeps only the 32 most probable: `classes` (32 int32), `probabilities` (32 float32),
and `others`, the mass of all the rest, which reading spreads evenly; and of the true class `own`, its probability
(float32), and `rank`, how many other classes are at least as probable (int32), so that scores are exact all the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import PodiumError, reading
from common.files import written

WIDE, KEPT = 512, 32  # classes above which a row keeps only so many
ROWS = 1024  # a piece of a file: at 50,000 classes 200 MB once read
BLOCK = 1 << 23  # probabilities sorted together, which takes 12 bytes each


def write(
    path: Path,
    ids: list[str],
    labels: np.ndarray | list[int],
    probabilities: np.ndarray | Iterable[np.ndarray],
    folds: np.ndarray | None = None,
) -> None:
    """Write the rows in the given order, whole or not at all.

    probabilities: float32 (N, K), or pieces of it as they are computed; lists of ids and labels may grow with them.
    """
    pieces = [probabilities] if isinstance(probabilities, np.ndarray) else probabilities
    writer, done = None, 0
    with written(path) as partial:
        try:
            for piece in pieces:
                rows = slice(done, done + len(piece))
                columns: dict[str, Any] = {
                    "id": pa.array(ids[rows], pa.string()),
                    "label": np.asarray(labels[rows], np.int64),
                }
                if folds is not None:
                    columns["fold"] = np.asarray(folds[rows], np.int64)
                table = pa.table(columns | _columns(np.asarray(piece, np.float32), columns["label"]))
                if writer is None:
                    metadata = {"classes": str(piece.shape[1])}
                    writer = pq.ParquetWriter(partial, table.schema.with_metadata(metadata))
                writer.write_table(table, row_group_size=ROWS)
                done += len(piece)
        finally:
            if writer is not None:
                writer.close()
        if done != len(ids):
            raise ValueError(f"{len(ids)} ids, but {done} rows of probabilities")


def join(path: Path, parts: Sequence[Path]) -> None:
    """Write the rows of tables of the same classes into one, in order, and remove them."""
    first, *others = (pq.read_schema(part) for part in parts)
    common = [field for field in first if all(field.name in other.names for other in others)]
    schema = pa.schema(common, first.metadata)  # of tables of before some have fewer columns
    with written(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for part in parts:
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group, columns=schema.names).cast(schema))
    for part in parts:
        part.unlink()


def batches(path: Path, exact: bool = False) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """(columns id, label and, if there, fold; probabilities float32 (n, K)) of at most 1,024 rows at a time.

    exact: the true class has its own probability, wherever it stands, as scores need it.
    """
    number = class_count(path)
    for frame, classes, kept, others in kept_batches(path, ("id", "label", "fold", "own")):
        known = frame.pop("own").to_numpy() if "own" in frame else None
        if others is None:
            yield frame, kept
            continue
        dense = np.empty((len(frame), number), np.float32)
        dense[:] = others[:, None] / (number - KEPT)
        if exact and known is not None:
            labels = frame["label"].to_numpy()
            rows = np.flatnonzero((labels >= 0) & (labels[:, None] != classes).all(axis=1))
            dense[rows] = (others[rows] - known[rows]).clip(0)[:, None] / (number - KEPT - 1)
            dense[rows, labels[rows]] = known[rows]
        np.put_along_axis(dense, classes.astype(np.int64), kept, axis=1)
        yield frame, dense


def ranked_batches(path: Path) -> Iterator[tuple[np.ndarray, ...]]:
    """(labels, their probabilities, their ranks by `ranked`, the best classes, theirs) of at most 1,024 rows at a time.

    Exact for any number of classes, but for tables of before that have no `own`, where what was left out is spread.
    """
    with reading(path):
        exact = "own" in pq.read_schema(path).names
    if not exact:
        for frame, rows in batches(path):
            labels = frame["label"].to_numpy()
            best = rows.argmax(axis=1)
            yield labels, *ranked(rows, labels), best, rows[np.arange(len(rows)), best]
        return
    for frame, classes, kept, _ in kept_batches(path, ("id", "label", "own", "rank")):
        labels, own, rank = (frame[name].to_numpy() for name in ("label", "own", "rank"))
        yield labels, own, rank, *most_probable(classes, kept)


def ranked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the labels' probabilities (N,), how many other classes are at least as probable, int64 (N,)).

    So equals count against the label, and a constant answer is never right; nor is NaN, whose rank is K.
    probabilities: float (N, K). labels: int (N,) in 0..K-1.
    """
    own, rank = np.empty(len(labels), probabilities.dtype), np.empty(len(labels), np.int64)
    step = max(1, BLOCK // max(1, probabilities.shape[1]))
    for start in range(0, len(labels), step):
        block, part = probabilities[start : start + step], slice(start, start + step)
        own[part] = np.take_along_axis(block, labels[part, None], axis=1)[:, 0]
        rank[part] = ranks(block, own[part])
    return own, rank


def ranks(probabilities: Any, own: Any) -> Any:
    """How many other classes are at least as probable as the label; K where it is NaN: int64 (N,).

    probabilities: float (N, K). own: float (N,), that of the label. Both are arrays or both tensors.
    """
    return probabilities.shape[1] - 1 - (probabilities < own[:, None]).sum(1) + (own != own)


def class_count(path: Path) -> int:
    """How many classes a table that `write` made knows; 0 where a table does not say."""
    with reading(path):
        return classes_of(pq.read_schema(path))


def classes_of(schema: pa.Schema) -> int:
    return int((schema.metadata or {}).get(b"classes", 0))


def kept_batches(
    path: Path, columns: Sequence[str] = ("id", "label", "fold")
) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray | None]]:
    """What the file holds of at most 1,024 rows at a time.

    (those of `columns` that are there; classes int (n, M); their probabilities float32 (n, M); and, above 512 classes,
    where the most probable comes first, the mass of all other classes float32 (n,), else None). Of a table without
    rows, one piece without rows.
    """
    with reading(path):
        yield from _kept_batches(path, columns)


def _kept_batches(
    path: Path, columns: Sequence[str]
) -> Iterator[tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray | None]]:
    file = pq.ParquetFile(path)
    there = file.schema_arrow.names
    if missing := {"id", "probabilities"} - {*there}:
        raise PodiumError(f"column {', '.join(sorted(missing))} is missing")
    names = [name for name in columns if name in there]
    held = [name for name in ("classes", "probabilities", "others") if name in there]
    for batch in _pieces(file, [*names, *held]):
        frame = batch.select(names).to_pandas()
        rows = len(frame)
        flat = batch.column("probabilities").flatten().to_numpy(zero_copy_only=False)
        if rows and (len(flat) == 0 or len(flat) % rows):
            raise ValueError(f"rows of probabilities differ in length ({len(flat)} values in {rows} rows)")
        width = (
            len(flat) // rows if rows else KEPT if "others" in held else max(1, classes_of(file.schema_arrow))
        )
        kept = flat.reshape(rows, width)
        if "others" not in held:
            yield frame, np.broadcast_to(np.arange(kept.shape[1]), kept.shape), kept, None
            continue
        classes = batch.column("classes").flatten().to_numpy(zero_copy_only=False).reshape(rows, width)
        yield frame, classes, kept, batch.column("others").to_numpy()


def _pieces(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """At most 1,024 rows at a time. One call for all row groups would hold every one of them until the last is read."""
    if not file.metadata.num_rows:
        yield pa.RecordBatch.from_pylist([], schema=file.schema_arrow).select(columns)
    for group in range(file.num_row_groups):
        yield from file.iter_batches(ROWS, row_groups=[group], columns=columns)


def read(path: Path, exact: bool = False) -> tuple[pd.DataFrame, np.ndarray]:
    """All rows at once: (columns id, label and, if there, fold; probabilities float32 (N, K)), as `batches`."""
    frames, rows = zip(*batches(path, exact), strict=True)
    return pd.concat(frames, ignore_index=True), np.concatenate(rows)


def read_top(path: Path) -> pd.DataFrame:
    """Columns id, label, predicted (most probable class, int64), probability (of that class, in [0, 1])."""
    pieces = []
    for frame, classes, kept, _ in kept_batches(path, ("id", "label")):
        predicted, probability = most_probable(classes, kept)
        pieces.append(frame.assign(predicted=predicted, probability=probability.astype(np.float64)))
    return pd.concat(pieces, ignore_index=True)


def most_probable(classes: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best class of each row, int64 (n,), of equals the first, and its probability, float32 (n,).

    classes, kept: as `kept_batches` gives them.
    """
    rows, best = np.arange(len(kept)), kept.argmax(axis=1)
    return classes[rows, best].astype(np.int64), kept[rows, best]


def _columns(rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    if rows.shape[1] <= WIDE:
        return {"probabilities": _lists(rows)}
    parts = np.array_split(rows, len(rows) * rows.shape[1] // BLOCK + 1)
    which = np.concatenate([np.argpartition(-part, KEPT - 1, axis=1)[:, :KEPT] for part in parts])
    which.sort(axis=1)  # of equals the first class comes first
    kept = np.take_along_axis(rows, which, axis=1)
    order = np.argsort(-kept, axis=1, kind="stable")
    which, kept = np.take_along_axis(which, order, axis=1), np.take_along_axis(kept, order, axis=1)
    others = (rows.sum(axis=1, dtype=np.float64) - kept.sum(axis=1, dtype=np.float64)).clip(0)
    own, rank = ranked(rows, labels.clip(0))  # -1: a picture of unknown class
    unknown = labels < 0
    return {
        "own": np.where(unknown, np.float32(np.nan), own),
        "rank": np.where(unknown, rows.shape[1], rank).astype(np.int32),
        "classes": _lists(which.astype(np.int32)),
        "probabilities": _lists(kept),
        "others": others.astype(np.float32),
    }


def _lists(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
