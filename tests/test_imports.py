"""The arrows between the rooms: competitions → serve → deliver → … → data → config, never back."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# folder of common/ -> the folders of common/ that it may import
ROAD = [
    "config",
    "data",
    "task",
    "model",
    "callbacks",
    "run",
    "report",
    "ensemble",
    "train",
    "sweep",
    "deliver",
    "serve",
]
MAY_IMPORT = {room: set(ROAD[:place]) for place, room in enumerate(ROAD)} | {"sample": {"config", "data"}}
FLOOR = {
    "activity",
    "errors",
    "trust",
    "build",
    "cores",
    "text",
    "files",
    "make_words",
    "processes",
    "renamed",
    "packages",
    "torchvision_guard",
}  # files that everything may import, and that import only each other
DOORS = {"__main__", "doctor"}  # files that may import everything, and that nothing else imports

SOURCES = sorted(
    path.relative_to(ROOT) for folder in ("common", "competitions") for path in (ROOT / folder).rglob("*.py")
)


def imported_modules(source: str) -> set[str]:
    """Dotted names of all modules that Python code imports, at the top, in functions and for type checkers.

    `from a import b` counts as `a.b`, since b may be a module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full, not relative"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wrong_way(path: Path, modules: set[str]) -> list[str]:
    """Those of the modules that the file at `path` (relative to the root) may not import."""
    return sorted(
        module for module in modules if not _allowed(path.with_suffix("").parts, tuple(module.split(".")))
    )


def _allowed(importer: tuple[str, ...], imported: tuple[str, ...]) -> bool:
    if imported[0] not in ("common", "competitions"):
        return imported[0] not in ("tests", "benchmarks")
    if len(imported) == 1:
        return True  # `import common` alone, for its guard
    if importer[0] == "competitions":
        return imported[1] == importer[1] if imported[0] == "competitions" else imported[1] not in DOORS
    if imported[0] == "competitions":
        return False
    here, there = importer[1], imported[1]
    if here in DOORS:
        return True
    if there in DOORS:
        return False
    if here in FLOOR or here == "__init__":
        return there in FLOOR
    return there in FLOOR or there == here or there in MAY_IMPORT[here]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_import_follows_the_arrows(path: Path):
    against = wrong_way(path, imported_modules((ROOT / path).read_text(encoding="utf-8")))
    assert not against, f"{path} may not import {', '.join(against)}"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("common/data/pixels/arrays.py", "from common.model.losses import Focal"),
        ("common/data/pixels/arrays.py", "def f():\n    from common import model"),
        ("common/model/losses.py", "import common.train.job"),
        ("common/train/job.py", "from competitions.garbage.data import GarbageData"),
        ("common/errors.py", "import common.data.records"),
        ("common/train/job.py", "from common.doctor import main"),
        ("competitions/garbage/data.py", "from competitions.hccr.data import read_gnt"),
        ("competitions/garbage/data.py", "from tests.toys import CLASSES"),
    ],
)
def test_an_import_against_the_arrows_is_seen(path: str, code: str):
    assert wrong_way(Path(path), imported_modules(code))


def test_configuration_and_image_reading_work_without_torch():
    modules = [path for path in SOURCES if path.parts[:2] == ("common", "config")]
    modules += [Path("common/__main__.py"), Path("common/errors.py"), Path("common/data/reading/images.py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules]
    code = f"import sys\nfor name in {names}: __import__(name)\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_competitions_is_open_to_more_folders():
    assert not (ROOT / "competitions" / "__init__.py").exists(), (
        "a namespace package: other folders may add to it"
    )
