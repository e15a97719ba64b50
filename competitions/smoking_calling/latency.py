"""How long one picture takes, from its file to its class, against the contest's limit of 200 ms.

`python -m competitions.smoking_calling.latency RUN` measures all models of a run on the machine at hand.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.reading.images import ImageError
from common.run.components import make_data
from common.run.folder import load_config, write_json
from common.run.predictor import Ensemble
from competitions.smoking_calling.commands import main

LIMIT, PICTURES, WARM_UP = 0.2, 50, 3  # seconds; pictures measured; and before that, not counted


def seconds_of_each(predict: Callable[[Path], Any], paths: Sequence[Path]) -> list[float]:
    """Wall-clock seconds of each call, after some that are not counted."""
    for path in paths[:WARM_UP]:
        predict(path)
    found = []
    for path in paths:
        start = time.perf_counter()
        predict(path)
        found.append(time.perf_counter() - start)
    return found


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Milliseconds: median, 95th percentile and the longest; and whether that one is within the limit."""
    median, late, longest = (1000 * np.percentile(seconds, [50, 95, 100])).round(2).tolist()
    return {"median_ms": median, "p95_ms": late, "longest_ms": longest, "within_limit": max(seconds) <= LIMIT}


def report(run: Path) -> Path:
    """Measure with and without test-time augmentation; writes and returns `latency.json`."""
    data = make_data(load_config(run), run)
    table = data.test_records() if (data.root / "test").is_dir() else data.records()[0]
    paths = [Path(path) for path in table["path"][:PICTURES]]
    found = {}
    for name, tta in (("with TTA", True), ("without TTA", False)):
        ensemble = Ensemble.of_run(run, tta=tta)
        bad: list[ImageError] = []

        def predict(path: Path, ensemble: Ensemble = ensemble, bad: list[ImageError] = bad) -> Any:
            return list(ensemble.predict([path.name], [path], 1, bad))

        found[name] = {
            "how": ensemble.how,
            "pictures": len(paths),
            **summary(seconds_of_each(predict, paths)),
        }
        verdict = "within" if found[name]["within_limit"] else "ABOVE"
        print(
            f"{name}: median {found[name]['median_ms']} ms, 95 % below {found[name]['p95_ms']} ms, longest "
            f"{found[name]['longest_ms']} ms: {verdict} the limit of {1000 * LIMIT:.0f} ms ({ensemble.how})"
        )
    path = run / "latency.json"
    write_json(path, found)
    return path


if __name__ == "__main__":
    main(report)
