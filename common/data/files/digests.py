"""What files hold, as hashes of their bytes, computed anew only where a file may be another.

A file counts as unchanged while its size, its times of change (of content and of inode) and its inode are those that
were hashed: `cp -p`, `rsync -t` and `tar` give another file an equal size and time of content, but not the others.
Where any differs, the bytes decide: a data set that was copied or moved is read once, not decoded anew.
"""

import ast
import hashlib
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from common.activity import Activity
from common.cores import cores

SIZE = 16  # bytes of a hash
AT_ONCE = 1000  # files that are hashed between two writes
_TABLE = (
    "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, touched INTEGER, "
    "inode INTEGER, hash TEXT) WITHOUT ROWID"
)


def digests(paths: Sequence[str], known: Path | None = None) -> list[str]:
    """A hash for each file's bytes, in hexadecimal; for one that cannot be read, a text that no hash is.

    known: SQLite file that keeps the hashes, made where it is missing; one that cannot be used only costs time.
    """
    facts = {path: _facts(path) for path in dict.fromkeys(paths)}
    kept = _read(known)
    found = {path: kept[path][1] for path, fact in facts.items() if path in kept and kept[path][0] == fact}
    missing = [path for path, fact in facts.items() if path not in found and fact is not None]
    with Activity("reading what changed", len(missing)) as counter, ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            new = {path: value for path, value in zip(some, pool.map(_hash, some), strict=True) if value}
            found |= new
            _write(known, [(path, *facts[path], value) for path, value in new.items()])  # type: ignore[misc]
            counter.done += len(some)
    # by its name: equal wherever the data set lies
    return [found.get(path, f"{os.path.basename(path)} cannot be read") for path in paths]


def is_digest(text: str) -> bool:
    """Whether a file's bytes were read: else the text is in place of a hash."""
    return len(text) == 2 * SIZE and " " not in text


def meaning(file: str | Path) -> str:
    """Python source as what it does: without comments, docstrings and layout."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a text that is a statement, such as a docstring, does nothing
            node.body = [one for one in body if not _is_text(one)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _facts(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _hash(path: str) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=SIZE)).hexdigest()
    except OSError:
        return None


def _read(known: Path | None) -> dict[str, tuple[tuple[int, int, int, int], str]]:
    if known is None or not known.exists():
        return {}
    with suppress(sqlite3.Error), closing(sqlite3.connect(known, timeout=60)) as base:
        rows = base.execute("SELECT path, size, changed, touched, inode, hash FROM files").fetchall()
        return {path: (tuple(facts), value) for path, *facts, value in rows}  # type: ignore[misc]
    return {}


def _write(known: Path | None, rows: list[tuple[str, int, int, int, int, str]]) -> None:
    if known is None or not rows:
        return
    with suppress(sqlite3.Error, OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(known, timeout=60)) as base, base:
            base.execute(_TABLE)
            base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)
