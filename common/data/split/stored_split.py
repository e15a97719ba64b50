"""StoredSplit: `folds.csv`, the part and the fold that each picture has been given before."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.data.spreadsheet import read_csv, to_csv
from common.errors import PodiumError, reading

COLUMNS = ["id", "path", "label", "class", "group", "source", "part", "fold", "train_only"]


@dataclass(frozen=True)
class StoredSplit:
    """What a run knows of its split when it starts, as text: at least the columns id and part.

    own: what the run has stored itself; None in a new run.
    named: the file of `data.split`, for the pictures that `own` does not have; None without.
    """

    own: pd.DataFrame | None
    named: pd.DataFrame | None

    @classmethod
    def read(cls, path: Path, named: Path | None) -> "StoredSplit":
        """path: the run's own file. Once a run has it, the named file may be missing.

        Raises PodiumError if the named file is missing, or if a file lacks a column.
        """
        own = _read(path, "group", "fold") if path.exists() else None
        if named is None or (own is not None and not named.is_file()):
            return cls(own, None)
        return cls(own, _read(named))

    def places(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """All places that are known, one for an id; None if none are.

        What is stored counts for more than `part` of the table, which is what the data set brings.

        Raises PodiumError in a new run if `data.split` knows no picture of the table.
        """
        if self.own is None and self.named is not None and not {*self.named["id"]} & {*table["id"]}:
            raise PodiumError(
                f"data.split: none of its images is among the {len(table)} here; the first is {self.named['id'][0]}"
                if len(self.named)
                else "data.split: the table is empty"
            )
        from_dataset = table[table["part"].notna()] if "part" in table else None
        known = [places for places in (self.own, self.named, from_dataset) if places is not None]
        return pd.concat(known).drop_duplicates("id") if known else None

    def groups(self, ids: pd.Series) -> pd.Series | None:
        """The groups of these pictures as the run has stored them; None if it does not have all.

        The named split does not count: its run may have grouped without comparing pictures.
        """
        if self.own is None or not set(ids) <= set(self.own["id"]):
            return None
        return ids.map(self.own.set_index("id")["group"])

    def save(self, table: pd.DataFrame, path: Path) -> None:
        """Write the split of a table with new pictures or new paths; what only other stages train on keeps its place.

        table: the columns of `folds.csv`.
        """
        new = set(table["id"][~table["train_only"]]) - (set() if self.own is None else set(self.own["id"]))
        if not new and self.own is not None and self._lies_where_it_lay(table):
            return
        if path.exists():
            before = read_csv(path, dtype=str, keep_default_na=False)
            table = pd.concat([table[COLUMNS], before[~before["id"].isin(table["id"])]])
        to_csv(table[COLUMNS], path, str(os.getpid()))

    def _lies_where_it_lay(self, table: pd.DataFrame) -> bool:
        assert self.own is not None
        if "path" not in self.own or table["train_only"].all():
            return True
        first = table[~table["train_only"]].iloc[0]
        return bool((self.own["path"][self.own["id"] == first["id"]] == first["path"]).all())


def _read(path: Path, *further: str) -> pd.DataFrame:
    if not path.is_file():
        raise PodiumError(f"data.split: there is no file {path}")
    with reading(path):
        known = read_csv(path, dtype=str, keep_default_na=False)
        if "fold" in known:
            pd.to_numeric(known["fold"])
    missing = {"id", "part", *further} - set(known.columns)
    if missing:
        raise PodiumError(f"{path}: column {', '.join(sorted(missing))} is missing")
    return known
