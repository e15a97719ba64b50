"""How much a client may ask."""

from dataclasses import dataclass

from common.config.schema import above_zero, at_least


@dataclass
class Limits:
    """Bounds of a request, and of how many there are at a time."""

    megabytes: float = 10  # of one upload, > 0
    # Of one picture, > 0, whatever its bytes: a few kB can hold gigabytes of white. Memory is what they bound: with
    # transparency a pixel takes 4 bytes in place of 3, of 16 bits 8, so there may be fewer.
    megapixels: float = 50
    requests: int = 64  # in work at a time, from the end of their upload to their answer, >= 1; more get 503
    upload_seconds: float = 30  # that a body may take to arrive, > 0
    answer_seconds: float = 10  # that an answer may take from then on, > 0

    def __post_init__(self) -> None:
        for name in ("megabytes", "megapixels", "upload_seconds", "answer_seconds"):
            above_zero(f"limits.{name}", getattr(self, name))
        at_least("limits.requests", self.requests, 1)
