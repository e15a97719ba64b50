"""How long a model takes for one picture."""

import time
from pathlib import Path
from statistics import median

import torch

from common.run import folder
from common.run.components import device_of, load_module

WARM_UP, TIMED = 3, 11  # predictions


def milliseconds(checkpoint: Path) -> float:
    """Median time of predicting one picture, read and fitted already, test-time augmentation included."""
    config = folder.load_config(checkpoint.parent)
    module = load_module(config, checkpoint).to(device_of(config["trainer"]["accelerator"]))
    size = (1, module.preprocessing["channels"], *module.preprocessing["size"])
    image = torch.rand(size, device=module.device)
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP + TIMED):
            start = time.perf_counter()
            module.step_hooks.predict(image).cpu()  # waits for the device
            times.append(time.perf_counter() - start)
    return 1000 * median(times[WARM_UP:])
