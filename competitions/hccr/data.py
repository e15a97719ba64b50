"""CASIA HWDB: handwritten Chinese characters, in .gnt files as CASIA ships them."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.config.schema import above_zero
from common.data.files.digests import digests
from common.data.files.found import once
from common.data.module import ImageData
from common.data.pixels.pack import file_keys
from common.data.reading.raw import Raw
from common.data.records import COLUMNS
from common.data.spreadsheet import to_csv
from common.errors import PodiumError
from competitions.hccr import tags
from competitions.hccr.files import gnt_files, pictures
from competitions.hccr.gnt import Fault, GntIndex
from competitions.hccr.sample import write_sample

# The first that a word of a file's name says, the zip's included, is what it is for; what has none is trained on.
PARTS = {
    "unlabelled": re.compile(r"unlabell?ed"),
    "score": re.compile(r"tst|(?<!con)(?<!la)(?<!at)(?<!pro)(?<!de)(?<!ea)(?<!as)test(?!ament|imon|ify)"),
    "valid": re.compile(r"(?<!in)valid|^val$"),
}
_WORD = re.compile(r"[A-Z]*[a-z]+|[A-Z]+")
_WRITER = re.compile(
    r"(\d+)-[a-z]\.gnt", re.IGNORECASE
)  # 1241-c.gnt, as CASIA numbers its writers across all sets


class HccrData(ImageData):
    """Grey pictures of single characters, of any size, in .gnt files or zips of them, anywhere below the root.

    A file whose name, or whose folder's or zip's, has a word with «tst» or «test» in it is scored and never trained on,
    nor is another file of its writer; «unlabelled», or only unknown tags, is for the submission; «valid» is validated;
    all others are trained on. Parts and folds keep writers whole: a file is a writer's, and where characters come again
    in it, each round of them is another's. Records and writers of each part are printed.

    Classes are the characters that are trained on, in the order of their GB codes, or those of `lexicon`. What is
    wrong with files, and tags that are no class, is listed in `gnt_faults.csv`, beside the split.

    Args:
        lexicon: file with a character a line, such as the original's lexicon3755.txt: class = line number.
        unzip_gb: that a zip may unpack to, > 0, whatever its size; None: 64, and at most 100 times the zip.
        others: see ImageData.
    """

    def __init__(self, *, lexicon: str | None = None, unzip_gb: float | None = None, **others: Any) -> None:
        super().__init__(**others)
        above_zero("data.unzip_gb", unzip_gb)
        self.unzip_gb = unzip_gb
        self.lexicon = Path(lexicon) if lexicon else None
        self.allow_absent_classes = lexicon is not None

    def prepare(self) -> Path:
        """Unpack the zips; returns the root."""
        gnt_files(self.root, self.unzip_gb)
        return self.root

    def records(self) -> tuple[pd.DataFrame, list[str]]:
        table, index = self._table()
        table = table[(table["part"] != "unlabelled").to_numpy()]
        characters = np.array(tags.characters(table["code"].to_numpy()), object)
        trained = table["part"].isna() & np.array([len(name) == 1 for name in characters], bool)
        if not trained.any():
            raise PodiumError(
                f"{self.root}: no record to train on: all {len(table)} are in files for tests, or have no tag"
            )
        names = tags.read_lexicon(self.lexicon) if self.lexicon else _by_code(table.loc[trained, "code"])
        label_of = {name: label for label, name in enumerate(names)}
        table["label"] = [label_of.get(name, -1) for name in characters]
        unknown = table["label"] == -1
        faults = list(index.faults)
        for row, name in zip(table.index[unknown], characters[unknown], strict=True):
            faults.append(Fault(str(index.files[index.file[row]]), int(index.offset[row]), _no_class(name)))
        self._report(faults, len(index))
        kept = table[~unknown].sort_values("id", ignore_index=True)
        return kept[[*COLUMNS, "part"]], names

    def test_records(self) -> pd.DataFrame:
        """The records of unlabelled files, or else those that are scored. Faults of these files are printed."""
        table, index = self._table()
        for part in ("unlabelled", "score"):
            found = table[(table["part"] == part).to_numpy()]
            if len(found):
                files = {str(index.files[at]) for at in index.file[found.index].tolist()}
                for fault in index.faults:
                    if fault.file in files:
                        print(f"left out: {fault}")
                return found.assign(label=np.int64(-1))[COLUMNS].reset_index(drop=True)
        return super().test_records()

    def picture_keys(self, table: pd.DataFrame) -> np.ndarray:
        raws = [
            Raw.parse(path) for path in table["path"]
        ]  # pictures without labels may be files of their own
        files = [raw.file if raw else path for raw, path in zip(raws, table["path"], strict=True)]
        return file_keys(files, [raw[1:] if raw else None for raw in raws], self.known_files)

    @classmethod
    def write_sample(cls, root: Path, seed: int = 0) -> None:
        write_sample(root, seed)

    def _table(self) -> tuple[pd.DataFrame, GntIndex]:
        """All records in the order of files, with columns `code` and `part`, and their index."""
        files = gnt_files(self.root, self.unzip_gb)
        index = GntIndex.of([path for _, path in files])
        ids, paths = pictures(files, index)
        known = np.bincount(index.file, index.code > 0, len(files)) > 0
        parts = [
            _part(name) if any_known else "unlabelled"
            for (name, _), any_known in zip(files, known, strict=True)
        ]
        tested = _writers_of_tests(files, parts, self.known_files)
        table = pd.DataFrame(
            {
                "id": ids,
                "path": paths,
                "group": writers(files, index),
                "source": "",
                "code": index.code,
                "part": np.array(parts, object)[index.file],
            }
        )
        return self._without(table, tested[index.file]), index

    def _without(self, table: pd.DataFrame, tested: np.ndarray) -> pd.DataFrame:
        """The table without training's records of test writers, bool (N,), which are counted; the parts are said."""
        left_out = tested & table["part"].isna().to_numpy()
        if left_out.any():
            once(
                f"left out: {left_out.sum():,} records of writers who are in files for tests, too: never trained on"
            )
        table = table[~left_out]
        for part, rows in table.groupby(table["part"].fillna("training"), sort=False):
            once(f"{part}: {len(rows):,} records of {rows['group'].nunique():,} writers")
        return table

    def _report(self, faults: list[Fault], count: int) -> None:
        """List what training cannot use; raises PodiumError where that is too much."""
        path = self.folder / "gnt_faults.csv"
        if not faults:
            path.unlink(missing_ok=True)
            return
        to_csv(
            pd.DataFrame([vars(fault) for fault in faults]), path, str(os.getpid())
        )  # as jobs side by side do
        said = f"{len(faults)} records cannot be used; they are listed with file and offset in {path}"
        if len(faults) > self.max_bad_share * (count + len(faults)):
            raise PodiumError(
                f"{said}\nThat is more than data.max_bad_share={self.max_bad_share}: mend the files, or raise the "
                f"share. The first: {faults[0]}"
            )
        print(f"left out: {said}")


def writers(files: list[tuple[str, Path]], index: GntIndex) -> list[str]:
    """Who wrote each record: its file's name, and a number where its file holds several writers' one after the other.

    Nobody writes all characters twice: where a file has more than one and a half records a character, a writer begins
    where a character comes again that the one before has written.
    """
    found: list[str] = []
    for number, (name, _) in enumerate(files):
        codes = index.code[index.file == number].tolist()
        if len(codes) <= 1.5 * len(set(codes)) or not any(codes):
            found += [name] * len(codes)
            continue
        written: set[int] = set()
        writer = 0
        for code in codes:
            if code in written:
                writer, written = writer + 1, set()
            written.add(code)
            found.append(f"{name}/{writer}")
    return found


def _part(name: str) -> str | None:
    """What a file is for, by its name; None where it is trained on."""
    words = [word.lower() for word in _WORD.findall(name)]
    return next((part for part, said in PARTS.items() if any(map(said.search, words))), None)


def _writers_of_tests(
    files: list[tuple[str, Path]], parts: list[str | None], known: Path | None
) -> np.ndarray:
    """Bool (files,): which are of a writer whom a file for tests has, by CASIA's number or by equal bytes."""
    numbers = [found[1] if (found := _WRITER.fullmatch(Path(name).name)) else None for name, _ in files]
    sizes = [path.stat().st_size for _, path in files]
    scored = [at for at, part in enumerate(parts) if part == "score"]
    taken, tested_sizes = {numbers[at] for at in scored} - {None}, {sizes[at] for at in scored}
    alike = [at for at, size in enumerate(sizes) if size in tested_sizes]
    hashes = dict(zip(alike, digests([str(files[at][1]) for at in alike], known), strict=True))
    equal = {hashes[at] for at in scored}
    return np.array([numbers[at] in taken or hashes.get(at) in equal for at in range(len(files))], bool)


def _no_class(name: str) -> str:
    """Why what `tags.character` gives is no class."""
    if not name:
        return "its tag is unknown"
    return f"its tag «{name}» is no class" if len(name) == 1 else f"its tag {name} is no character"


def _by_code(codes: pd.Series) -> list[str]:
    return [tags.character(int(code)) for code in np.unique(codes.to_numpy())]
