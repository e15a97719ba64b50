"""What a file may name as code: a run folder, a checkpoint or an exported file may come from somebody else.

A `_target_` is looked up here and nowhere else. Without being asked, these count:

- classes of `common` and `competitions`, and functions of theirs that make a network, at the place that their kind is
  made for (see KINDS);
- the classes of other packages that KINDS lists.

Further ones must be trusted by whoever calls, never by the file: packages in `conf/trust.yaml`, the option `trust=`,
the environment variable PODIUM_TRUST (names with commas between), and, in a training, the targets of one's own
configuration. Of what is trusted the kind is not asked.
"""

import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import yaml

from common.errors import PodiumError, reading

FILE = Path(__file__).resolve().parents[1] / "conf" / "trust.yaml"
VARIABLE = "PODIUM_TRUST"
HOME = ("common", "competitions")
PATH = re.compile(r"\w+(\.\w+)+")  # of a target


@dataclass(frozen=True)
class Kind:
    """What a place takes.

    bases: full names, of which one is a base of the class; none of `not_bases` is. methods: that the class has.
    call: how many arguments its `__call__` takes. of_pictures: these and what it returns are annotated as Image.
    made_with: arguments of a function that makes one.
    outside: other packages' classes, `module.*` for all of a module that have the right base.
    """

    what: str
    bases: tuple[str, ...] = ()
    not_bases: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    call: tuple[int, ...] = ()
    of_pictures: bool = False
    made_with: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def fits(self, found: Any) -> bool:
        if inspect.isfunction(found):
            known = inspect.signature(found)
            returned = getattr(known.return_annotation, "__name__", known.return_annotation)
            makes = returned in ("Module", "nn.Module") and {*self.made_with} <= {*known.parameters}
            return bool(self.made_with) and makes
        if not inspect.isclass(found):
            return False
        bases = {f"{base.__module__}.{base.__qualname__}" for base in found.__mro__}
        return (
            (not self.bases or bool(bases & {*self.bases}))
            and not bases & {*self.not_bases}
            and all(callable(getattr(found, name, None)) for name in self.methods)
            and (not self.call or _arity(found) in self.call)
            and not (self.of_pictures and not _takes_pictures(found))
        )


MODULE = "torch.nn.modules.module.Module"
LIGHTNING = "pytorch_lightning.core.module.LightningModule"
IMAGE = ("num_classes", "in_channels", "image_size")
KINDS = {
    "network": Kind("a network", (MODULE,), (LIGHTNING,), made_with=IMAGE),
    "head": Kind("a head", (MODULE,), (LIGHTNING,), made_with=("in_features", "num_classes")),
    "loss": Kind("a loss", (MODULE,), (LIGHTNING,)),
    "optimizer": Kind(
        "an optimizer", ("torch.optim.optimizer.Optimizer",), outside=("torch.optim.*", "pytorch_optimizer.*")
    ),
    "schedule": Kind("a schedule", call=(2, 3)),  # (progress, epoch), perhaps step
    "module": Kind("a LightningModule", (LIGHTNING,)),
    "data": Kind("a LightningDataModule", ("pytorch_lightning.core.datamodule.LightningDataModule",)),
    "copies": Kind("a maker of copies", methods=("make",)),
    "picture": Kind("a function of a picture, (image: Image) -> Image", call=(1,), of_pictures=True),
    "batch view": Kind("a view of a batch", call=(2,)),  # (images, keys)
    "view": Kind("a test-time view", call=(1,)),
    "callback": Kind(
        "a callback",
        ("pytorch_lightning.callbacks.callback.Callback",),
        outside=tuple(
            f"pytorch_lightning.callbacks.{name}"
            for name in ("EarlyStopping", "LearningRateMonitor", "GradientAccumulationScheduler")
        ),
    ),
    "logger": Kind(
        "a logger",
        ("pytorch_lightning.loggers.logger.Logger",),
        outside=tuple(
            f"pytorch_lightning.loggers.{name}" for name in ("TensorBoardLogger", "WandbLogger", "CSVLogger")
        ),
    ),
    "launcher": Kind("a launcher", ("common.train.launch.launchers.Launcher",)),
    "submission": Kind("a submission", methods=("write", "validate")),
    "service": Kind("a service's contract", methods=("answer",)),
}
# key → kind; `*`: any name; of a stage's recipe as of the whole
PLACES = {
    "data": "data", "data.copies": "copies", "data.picture": "picture", "preprocessing.picture": "picture",
    "module": "module", "model": "network", "model.head": "head", "loss": "loss", "optimizer": "optimizer",
    "schedule": "schedule", "views.batch.*": "batch view", "callbacks.*": "callback",
    "callbacks.*.views.*": "view", "logger.*": "logger", "launcher": "launcher", "submission": "submission",
    "service": "service",
}  # fmt: skip

_named: set[str] = set()  # by `also` and `own`
_runs: set[Path] = set()  # folders that were read as runs: no code comes from there


class Refused(PodiumError):
    """A target that is not trusted, or of another kind than its place takes."""


def resolve(target: Any, kind: str = "part") -> Any:
    """The class or function that a dotted path names, which is imported.

    kind: one of KINDS; `part`: any of them.

    Raises Refused, before anything is imported where the path alone tells, and PodiumError for what is not there.
    """
    if not isinstance(target, str) or not PATH.fullmatch(target):
        raise PodiumError(f"_target_ must be a dotted path such as package.module.Name, got {target!r}")
    trusted = names()
    if target in trusted:
        return _imported(target)
    kinds = [KINDS[kind]] if kind in KINDS else list(KINDS.values())
    listed = [one for one in kinds if {target, f"{target.rpartition('.')[0]}.*"} & {*one.outside}]
    if not listed and not _within(target, (*HOME, *trusted)):
        raise Refused(f"{target} is not trusted. {remedy(target)}")
    found = _imported(target, deep=False)
    if _within(target, trusted):
        if not _within(_defined(found), trusted):
            raise Refused(f"{target} is {_defined(found) or type(found).__name__}, which is not trusted")
    elif not any(one.fits(found) for one in listed or kinds) or not (
        listed or _within(_defined(found), HOME)
    ):
        what = KINDS[kind].what if kind in KINDS else "a part"
        raise Refused(f"{target} is no class for this place: expected {what}")
    return found


def check(node: Any, file: Path | str, at: str = "", imports: bool = True) -> None:
    """Raise a PodiumError that names the file and the key for each target that `node` must not name, at any depth.

    imports: look at what the targets are; else at their paths alone.
    """
    for key, part in _parts(node, at):
        try:
            kind = kind_of(key)
            if part.get("_partial_") and part["_target_"] not in names():
                raise Refused("_partial_ is for targets of one's own")
            if imports or not _could_be(part["_target_"]):
                resolve(part["_target_"], kind)
        except PodiumError as error:
            raise type(error)(f"{file}: {key}: {error}") from None


def kind_of(key: str) -> str:
    """The kind of part that a key of a configuration takes; `part` for one that Podium does not know."""
    words = key.split(".")
    if words[0] == "stages" and words[2:3] == ["recipe"]:
        words = words[3:]
    for place, kind in PLACES.items():
        pattern = place.split(".")
        if len(pattern) == len(words) and all(
            one in ("*", word) for one, word in zip(pattern, words, strict=True)
        ):
            return kind
    return "part"


def names() -> set[str]:
    """What is trusted by whoever calls: packages, modules, and single targets."""
    return _named | {*_split(os.environ.get(VARIABLE, ""), VARIABLE)} | {*_of_file(FILE)}


def also(given: Any) -> None:
    """Trust these for the rest of the process: names, as text with commas between or as a list; None: none."""
    _named.update(_split(given, "trust"))


def own(config: Any) -> list[str]:
    """Trust the targets of one's own configuration; returns those that a stranger's file must not name."""
    further = []
    for key, part in _parts(config):
        target = part["_target_"]
        try:
            resolve(target, kind_of(key))
        except PodiumError:
            if isinstance(target, str):
                further.append(target)
        if part.get("_partial_") and isinstance(target, str):
            further.append(target)
    further = [target for target in further if PATH.fullmatch(target)]  # no other is ever resolved
    _named.update(further)
    return sorted({*further})


def given() -> list[str]:
    """What `also` and `own` have named, for the command line of another process."""
    return sorted(_named)


@contextmanager
def scope() -> Iterator[None]:
    """What is trusted inside is forgotten afterwards."""
    before = set(_named)
    try:
        yield
    finally:
        _named.clear()
        _named.update(before)


def is_trusted_file(path: Path) -> bool:
    """Whether a file that is code itself was named."""
    return any(os.path.realpath(name) == os.path.realpath(path) for name in names() if name.endswith(".pt2"))


def run_folder(path: Path) -> None:
    """No code is imported from this folder from now on, whatever the search path says."""
    _runs.add(Path(os.path.realpath(path)))


def remedy(target: str) -> str:
    """How to trust a target."""
    package = target.partition(".")[0]
    return f"If you know who made the file, and that code, give trust={package}, or name {package} in conf/trust.yaml"


def _within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _defined(found: Any) -> str:
    """Where a class or function is defined, as a dotted path; "" for anything else."""
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return ""
    return f"{found.__module__}.{found.__qualname__}"


def _could_be(target: Any) -> bool:
    """Whether a path alone does not speak against a target."""
    outside = [name for kind in KINDS.values() for name in kind.outside]
    return isinstance(target, str) and (
        _within(target, (*HOME, *names())) or bool({target, f"{target.rpartition('.')[0]}.*"} & {*outside})
    )


def _imported(target: str, deep: bool = True) -> Any:
    """What a path names. deep: the module may have further names below it, such as a class with a method."""
    module, _, name = target.rpartition(".")
    names_below = [name]
    while True:
        _check_place(module)
        try:
            found: Any = import_module(module)
            break
        except ModuleNotFoundError as error:
            if deep and "." in module and _within(module, [str(error.name)]):
                module, _, name = module.rpartition(".")
                names_below.insert(0, name)
                continue
            raise PodiumError(f"{target} cannot be imported: {error}") from error
        except ImportError as error:
            raise PodiumError(f"{target} cannot be imported: {error}") from error
    for name in names_below:
        if not hasattr(found, name):
            raise PodiumError(f"{target}: there is no {name} in {module}")
        found = getattr(found, name)
    return found


def _check_place(module: str) -> None:
    """Raise Refused for a module that would be imported from a run folder, on the search path as it may be."""
    if module in sys.modules or not _runs:
        return
    path: list[str] | None = None
    for word in module.split("."):
        spec = PathFinder.find_spec(
            word, path
        )  # by its own name: a folder's full name needs its parent imported
        if spec is None:
            return
        path = [*(spec.submodule_search_locations or [])]
        file = Path(os.path.realpath(spec.origin)) if spec.has_location and spec.origin else None
        if file is not None and any(run in file.parents for run in _runs):
            raise Refused(f"{module} lies in the run folder, at {file}: no code is taken from there")


def _arity(kind: type) -> int | None:
    call = vars(kind).get("__call__") or next(
        (vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None
    )
    return None if call is None else len(inspect.signature(call).parameters) - 1


def _takes_pictures(kind: type) -> bool:
    import numpy as np
    from numpy.typing import NDArray

    picture = NDArray[np.uint8]  # `Image` of common/data/reading/images.py, which imports this
    call: Any = next(vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base))
    known = inspect.signature(call, eval_str=True)
    given = [one.annotation for one in known.parameters.values()][1:]
    return known.return_annotation == picture and given == [picture]


def _parts(node: Any, at: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(key, node) of all nodes with a `_target_`, at any depth."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield at, node
        items: Iterable[tuple[Any, Any]] = node.items()
    else:
        items = enumerate(node) if isinstance(node, list | tuple) else ()
    for name, child in items:
        yield from _parts(child, f"{at}.{name}" if at else str(name))


def _split(given: Any, where: str) -> list[str]:
    words = given.split(",") if isinstance(given, str) else given or []
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise PodiumError(f"{where} must be names of packages, got {given!r}")
    found = [word.strip() for word in words if word.strip()]
    for word in found:
        if not (re.fullmatch(r"\w+(\.\w+)*", word) or word.endswith(".pt2")):
            raise PodiumError(f"{where}: {word} is no package, and no file .pt2")
    return found


@cache
def _of_file(path: Path) -> tuple[str, ...]:
    if not path.exists():  # an installation without conf
        return ()
    with reading(path):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return tuple(_split(content.get("packages"), "packages"))
