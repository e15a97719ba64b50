"""TinyMind 2018: `filename,label`, the five best characters joined without a separator."""

from common.deliver.submission import TopK


class CalligraphySubmission(TopK):
    """UTF-8 CSV, one row an image of the test part: bare file name and five distinct characters, best first."""

    def __init__(self) -> None:
        super().__init__(k=5, separator="", bare_name=True)
