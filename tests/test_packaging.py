"""pyproject.toml says what is needed, constraints.txt in which version, environment.yml the same to conda."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_imports import imported_modules

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE = PYPROJECT["project"]["dependencies"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
NO_DEPS = PYPROJECT["dependency-groups"]["no-deps"]  # installed without their own requirements


def read_pins(lines: Iterable[str]) -> dict[str, str]:
    """Canonical name -> version, of lines `name==version`; blank lines and comments aside."""
    lines = [line.strip() for line in lines]
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


PINS = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())


OWNERS = packages_distributions()  # top-level module -> the distributions it comes from


def installed(name: str) -> str | None:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def with_their_requirements(requirements: Iterable[str]) -> set[str]:
    """Canonical names of the requirements and of all that they require, as far as they are installed here."""
    todo = [Requirement(line) for line in requirements]
    seen = set()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            node = (canonicalize_name(requirement.name), extra)
            if node in seen or installed(requirement.name) is None:
                continue
            seen.add(node)
            further = map(Requirement, requires(requirement.name) or [])
            todo += [
                line for line in further if line.marker is None or line.marker.evaluate({"extra": extra})
            ]
    return {name for name, _ in seen}


EVERYTHING = [*CORE, *(line for extra in EXTRAS.values() for line in extra)]
NEEDED = sorted(with_their_requirements(EVERYTHING) | {Requirement(line).name for line in NO_DEPS})


def test_everything_needed_is_pinned():
    missing = [f"{name}=={installed(name)}" for name in NEEDED if name not in PINS]
    assert not missing, f"constraints.txt lacks {' '.join(missing)}"


def test_the_installed_versions_are_the_pinned_ones():
    installed_here = {name: installed(name) for name in NEEDED if installed(name)}
    assert installed_here == {name: PINS.get(name) for name in installed_here}


def test_every_pin_is_a_version_that_pyproject_allows():
    requirements = [Requirement(line) for line in EVERYTHING]
    pins = {line: PINS[canonicalize_name(line.name)] for line in requirements}
    assert [str(line) for line, pin in pins.items() if not line.specifier.contains(pin)] == []


def test_pins_are_sorted_and_written_canonically():
    assert list(PINS) == sorted(map(canonicalize_name, PINS))


def test_conda_gets_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pins = read_pins(environment["dependencies"][-1]["pip"])
    assert pins == {name: PINS[name] for name in pins}
    # torch's build for CUDA names its own libraries exactly, and builds without CUDA want none of them
    wanted = {name for name in with_their_requirements(CORE + EXTRAS["test"]) if not is_of_cuda(name)}
    assert set(pins) == wanted


def is_of_cuda(name: str) -> bool:
    return name == "triton" or name.startswith(("nvidia-", "cuda-"))


def test_the_only_opencv_is_headless():
    assert [name for name in PINS if "opencv" in name] == ["opencv-python-headless"]
    assert set(OWNERS["cv2"]) == {"opencv-python-headless"}


def test_each_imported_package_is_required_by_name():
    declared = {canonicalize_name(Requirement(line).name) for line in [*EVERYTHING, *NO_DEPS]}
    for path in (
        path for folder in ("common", "competitions", "tests") for path in (ROOT / folder).rglob("*.py")
    ):
        for module in imported_modules(path.read_text(encoding="utf-8")):
            package = module.partition(".")[0]
            if package in OWNERS:  # neither Python's own nor ours
                names = {canonicalize_name(name) for name in OWNERS[package]}
                assert names & declared, (
                    f"{path} imports {package}: pyproject.toml must require {', '.join(names)}"
                )


def test_no_registry_is_named():
    files = ["Makefile", "environment.sh", "environment.yml", "pyproject.toml", "constraints.txt", ".ci/run"]
    for name in files:
        assert not re.search(r"https?://", (ROOT / name).read_text(encoding="utf-8")), name


def test_ci_runs_the_command_of_the_readme():
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md")
    commands = [
        line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert len(commands) == 1
    blocks = re.findall(
        r"^```\w*\n(.*?)^```", readme.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    shown = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    assert commands[0].removeprefix("exec ") in shown
