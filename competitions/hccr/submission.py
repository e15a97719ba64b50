"""Handwritten characters: `file,index,label`, a row a record."""

import re
from pathlib import Path

from common.data.reading.reader import images_of
from common.data.records import image_id
from common.deliver.submission import TopK
from competitions.hccr.files import gnt_files, has_gnt, pictures
from competitions.hccr.gnt import GntIndex

RECORD = re.compile(
    r"(.+\.gnt)#(\d+)", re.IGNORECASE | re.DOTALL
)  # as competitions.hccr.files.pictures names it


class HccrSubmission(TopK):
    """UTF-8 CSV: file, number of the record in it (from 0), and five distinct characters, best first, in one field.

    Single pictures have their path as file and no number.
    """

    header = ("file", "index", "label")

    def __init__(self) -> None:
        super().__init__(k=5, separator="")

    def names(self, image: str) -> list[str]:
        record = RECORD.fullmatch(image)
        return [record[1], record[2]] if record else [image, ""]

    def pictures(self, source: Path) -> tuple[list[str], list[Path]]:
        """Ids and paths of the records of a .gnt file, of a zip, or of all below a folder; or else of its pictures.

        Faults of the files are printed.
        """
        if not has_gnt(source):
            paths = images_of(source)
            base = source if source.is_dir() else source.parent
            return [image_id(path, base) for path in paths], paths
        files = gnt_files(source)
        index = GntIndex.of([path for _, path in files])
        for fault in index.faults:
            print(f"left out: {fault}")
        ids, found = pictures(files, index)
        return ids, [Path(path) for path in found]
