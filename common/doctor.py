"""`make doctor`: what this machine has and lacks, each finding with its mend.

Runs where everything else is broken: a check imports what it looks at, and one that raises is a finding too.
"""

import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from common.cores import cores, quota
from common.packages import MADE_HERE, ROOT, installed
from common.text import console

GIB = 2**30
REINSTALL = (
    "`make clean`, then the same command again" if MADE_HERE else "install the versions of constraints.txt"
)


class Finding(NamedTuple):
    """What a check found. state: "ok", "warn" (works, but worse) or "fail" (does not work)."""

    state: str
    found: str
    mend: str = ""


def main() -> int:
    """Print what each check finds; returns 1 if any of them failed, else 0."""
    findings = {name: examine(check) for name, check in CHECKS.items()}
    show(findings)
    return int(any(finding.state == "fail" for finding in findings.values()))


def examine(check: Callable[[], Finding]) -> Finding:
    """Run a check; what it raises is a package that is missing or does not load."""
    try:
        return check()
    except Exception as error:  # a broken library raises whatever it likes
        reason = next(iter(str(error).splitlines()), "")
        return Finding("fail", f"{type(error).__name__}: {reason}", REINSTALL)


def show(findings: dict[str, Finding]) -> None:
    """A table on a terminal; plain lines, one a check, in a file or pipe and where rich is missing."""
    if sys.stdout.isatty() and find_spec("rich"):
        from rich.table import Table
        from rich.text import Text

        styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, (state, found, mend) in findings.items():
            text = Text.assemble(found, *([("\n→ " + mend, "dim")] if mend else []))
            table.add_row(Text(state, styles[state]), Text(name), text)
        console().print(table)
        return
    width = max(map(len, findings))
    for name, (state, found, mend) in findings.items():
        print(f"{state:<4}  {name:<{width}}  {found}" + (f" → {mend}" if mend else ""))


def check_python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("ok", found)
    return Finding("fail", found, "make … PYTHON=/path/to/python3.12, which must be 3.11, 3.12 or 3.13")


def check_packages() -> Finding:
    """All that pyproject.toml requires is here, in the versions of constraints.txt."""
    project = read_pyproject()
    required = names(project["project"]["dependencies"] + project["dependency-groups"]["no-deps"])
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    found = {name: installed(name) for name in required}
    missing = [name for name, have in found.items() if have is None]
    other = [
        f"{name} {have}, not {pins[name]}" for name, have in found.items() if have not in (None, pins[name])
    ]
    if missing:
        return Finding("fail", f"missing: {', '.join(missing)}", REINSTALL)
    if other:
        return Finding("warn", f"not as tested: {'; '.join(other)}", REINSTALL)
    return Finding("ok", f"all {len(required)} in the versions of constraints.txt")


def check_torch() -> Finding:
    import torch

    torch.ones(2, 2) @ torch.ones(2, 2)  # fails where torch was built for another processor
    return Finding("ok", f"{torch.__version__}, built for {torch_build()}")


def check_torchvision() -> Finding:
    from common.torchvision_guard import operators_load

    versions = f"{version('torchvision')} beside torch {version('torch')}"
    fits = operators_load()
    import torchvision  # noqa: F401

    if fits:
        return Finding("ok", versions)
    return Finding("ok", f"{versions}: its operators are of another build and off; Podium uses none of them")


def check_imgaug() -> Finding:
    import numpy as np

    if installed("imgaug") is not None:
        return Finding(
            "fail", "imgaug is installed over its fork imaug", f"pip uninstall imgaug; {REINSTALL}"
        )
    import imgaug.augmenters as iaa

    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    if not np.array_equal(iaa.Fliplr(1.0)(image=image), image[:, ::-1]):
        return Finding("fail", f"imaug {version('imaug')} mirrors a picture wrongly", REINSTALL)
    return Finding("ok", f"imaug {version('imaug')}")


def check_opencv() -> Finding:
    """Builds of OpenCV share the folder cv2: the one installed last wins, and one removed takes it away."""
    builds = ["opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"]
    others = [name for name in builds if installed(name) is not None]
    if others:
        mend = f"pip uninstall {' '.join(others)} opencv-python-headless; {REINSTALL}"
        return Finding("fail", f"{', '.join(others)} beside or instead of opencv-python-headless", mend)
    import cv2

    return Finding("ok", f"opencv-python-headless {cv2.__version__}")


def check_fonts() -> Finding:
    from common.report.fonts import font_for

    font = font_for("汉字书法")
    if font is None:
        mend = "Debian, Ubuntu: apt install fonts-noto-cjk; elsewhere any font that has Chinese"
        return Finding("warn", "none with Chinese: class names in pictures are written as numbers", mend)
    return Finding("ok", f"Chinese by {font.get_name()}")


def check_gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Finding("ok", ", ".join(f"{card.name} {card.total_memory / GIB:.0f} GiB" for card in cards))
    if torch.backends.mps.is_available():
        return Finding("ok", "Apple's, by mps")
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        mend = "install torch's build for CUDA, or a driver that is new enough for it"
        return Finding("warn", f"an NVIDIA driver that torch, built for {torch_build()}, cannot use", mend)
    return Finding("ok", "none: training and prediction run on the CPU")


def check_threads() -> Finding:
    found = f"{cores()} CPU threads"
    if quota() < (os.cpu_count() or 1):
        found += f": this container may use {quota():g} cores at a time"
    limit = os.environ.get("OMP_NUM_THREADS")
    return Finding("ok", found + (f"; OMP_NUM_THREADS={limit}" if limit else ""))


def check_precision() -> Finding:

    from common.run.components import device_of
    from common.train.speed_probe import computed

    device = device_of("auto")
    found = computed(("32-true", "bf16-mixed", "16-mixed"), device)
    lacks = "" if "bf16-mixed" in found else "; bf16 by emulation alone, so it is not tried"
    return Finding("ok", f"{', '.join(found)} on the {'GPU' if device.type == 'cuda' else 'CPU'}{lacks}")


def check_memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = min([total, *read_numbers("/sys/fs/cgroup/memory.max")])
    found = f"{total / GIB:.1f} GiB"
    if total < 4 * GIB:
        return Finding("warn", found, "less than 4 GiB: a smaller data.batch_size, data.workers=0")
    shared = Path("/dev/shm")
    if shared.exists() and (size := shutil.disk_usage(shared).total) < GIB:
        mend = "docker run --shm-size=2g, or data.workers=0"
        return Finding(
            "warn", f"{found}; only {size / GIB:.2f} GiB shared with the workers that read images", mend
        )
    return Finding("ok", found)


def check_disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / GIB:.1f} GiB free in {Path.cwd()}"
    if free < GIB:
        return Finding("fail", found, "free 1 GiB or more: checkpoints and pictures go there")
    if free < 10 * GIB:
        return Finding("warn", found, "less than 10 GiB: remove old folders of runs/")
    return Finding("ok", found)


def check_weights() -> Finding:
    packages = names(read_pyproject()["project"]["optional-dependencies"]["weights"])
    have = [name for name in packages if installed(name) is not None]
    mend = "" if len(have) == len(packages) else "`make weights`, for model.pretrained=pip"
    return Finding("ok", f"{len(have)} of {len(packages)} packages of pretrained weights", mend)


def check_compiler() -> Finding:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    headers = Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    if compiler and headers:
        return Finding("ok", f"{compiler}, for torch.compile")
    lacks = " and ".join(
        what for what, have in (("C++ compiler", compiler), ("Python.h", headers)) if not have
    )
    return Finding(
        "ok", f"no {lacks}: torch.compile cannot be used", "Debian, Ubuntu: apt install g++ python3-dev"
    )


def read_pyproject() -> dict[str, Any]:
    import tomllib  # since Python 3.11, which may be what is missing

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def torch_build() -> str:
    import torch

    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"


def names(requirements: Iterable[str]) -> list[str]:
    """`["timm==1.0.31", "rich"]` -> `["timm", "rich"]`."""
    return [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements]


def read_numbers(path: str) -> list[int]:
    """The whole numbers in a file of the kernel; none where there is no such file or no limit ("max")."""
    try:
        return [int(word) for word in Path(path).read_text().split() if word.isdigit()]
    except OSError:
        return []


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": check_python,
    "packages": check_packages,
    "torch": check_torch,
    "torchvision": check_torchvision,
    "imgaug": check_imgaug,
    "OpenCV": check_opencv,
    "fonts": check_fonts,
    "GPU": check_gpu,
    "CPU": check_threads,
    "precision": check_precision,
    "memory": check_memory,
    "disk": check_disk,
    "weights": check_weights,
    "compiler": check_compiler,
}
