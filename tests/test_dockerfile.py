"""The image holds what the service needs, in the pinned versions, and nothing else."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_packaging import CORE, EXTRAS, PINS, PYPROJECT, with_their_requirements

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def steps(word: str) -> list[str]:
    return [rest for first, rest in STEPS if first == word]


def copied() -> list[str]:
    """What comes from this folder."""
    return [name for rest in steps("COPY") if not rest.startswith("--from") for name in rest.split()[:-1]]


def test_packages_are_those_of_the_extra_in_the_pinned_versions():
    (install,) = [step for step in steps("RUN") if "venv" in step]
    assert re.search(r"sh environment\.sh /venv serve$", install)  # which installs with -c constraints.txt
    assert {"constraints.txt", "pyproject.toml", "environment.sh"} <= set(copied())
    assert not re.search(r"\bpip3? |==|https?://(?!127\.0\.0\.1)", DOCKERFILE)
    needed = with_their_requirements(EXTRAS["serve"])
    assert needed <= set(PINS) and "torch" not in needed
    assert set(EXTRAS["serve"]) <= set(CORE)


def test_its_python_is_one_that_podium_runs_on():
    images = {rest.split()[0] for rest in steps("FROM")}
    (image,) = images
    version = re.fullmatch(r"python:(3\.\d+)-slim", image)[1]
    assert Requirement(f"python{PYPROJECT['project']['requires-python']}").specifier.contains(version)
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert f"python={version}" in conda


def test_what_is_copied_is_there_and_not_ignored():
    kept = [line[1:] for line in IGNORED if line.startswith("!")]
    assert IGNORED[1] == "*" and sorted(kept) == sorted(copied())
    for name in copied():
        assert (ROOT / name).exists(), name
    out = [line for line in IGNORED[2:] if not line.startswith(("!", "#"))]
    assert all(any(fnmatch(name, line) for line in out) for name in ("common/__pycache__", "common/a.pyc"))


def test_it_is_small_and_without_privileges():
    assert len(steps("FROM")) == 2 and "AS packages" in steps("FROM")[0]
    last = [first for first, _ in STEPS]
    assert last.index("USER") < last.index("ENTRYPOINT") and steps("USER") == ["podium"]
    assert any("useradd --system" in step and "podium" in step for step in steps("RUN"))
    assert "/health" in steps("HEALTHCHECK")[0]


NO_TORCH = """
import sys
for name in ("torch", "pytorch_lightning", "timm"):
    sys.modules[name] = None  # importing it fails
import common.serve.server
from importlib.metadata import packages_distributions
owners = packages_distributions()
print(*{owners[name][0] for name in {module.partition(".")[0] for module in sys.modules} if name in owners})
"""


def test_the_service_imports_nothing_that_the_image_lacks():
    done = subprocess.run([sys.executable, "-c", NO_TORCH], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = {canonicalize_name(name) for name in done.stdout.split()} - {
        "torch",
        "pytorch-lightning",
        "timm",
    }
    optional = {"pyarrow", "setuptools", "attrs", "cloudpickle"}  # what is taken where it is there
    assert imported - optional <= with_their_requirements(EXTRAS["serve"])
    assert {"fastapi", "onnxruntime"} <= imported


def test_its_command_is_that_of_make_serve():
    from common.config.options import parse
    from common.serve.server import Serve

    words = re.findall(r'"([^"]*)"', steps("ENTRYPOINT")[0])
    assert words[1:4] == ["-m", "common", "serve"]
    options = parse(Serve, [*words[4:], "run_dir=/other.onnx"])
    assert options.host == "0.0.0.0" and str(options.port) in steps("EXPOSE")
    assert options.run_dir == "/other.onnx"
