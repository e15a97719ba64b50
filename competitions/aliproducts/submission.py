"""AliProducts 2020: `id,predicted`, the most probable class of every image."""

from common.deliver.submission import TopK


class AliproductsSubmission(TopK):
    """UTF-8 CSV, one row an image of the test part: bare file name and class, as train.json writes it."""

    header = ("id", "predicted")

    def __init__(self) -> None:
        super().__init__(k=1, bare_name=True)
