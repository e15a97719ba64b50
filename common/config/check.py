"""Are the parts what they should be? Compared with the code they name, which is imported.

Every `_target_` must exist, take the arguments that the configuration gives it, and be given those it
requires, with values that fit simple annotations (numbers, text, lists, `Literal`, …).
"""

from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from typing import Any

from omegaconf import DictConfig, OmegaConf

from common.config.explain import said_by
from common.config.nearest import listed, nearest, show, suggest
from common.config.signature import EMPTY, NotFound, Opaque, Signature, accepts, describe, signature
from common.errors import PodiumError
from common.renamed import current_target

# What Podium itself passes to a part, besides what the configuration says. `x.*`: to every part in x.
PASSED: dict[str, tuple[str, ...]] = {
    "data": ("seed", "views", "folder", "folds", "fold", "taught", "cleaned", "packs", "copies_folder"),
    "module": ("model", "loss", "optimizer", "schedule", "class_names", "preprocessing", "levels", "seed"),
    "model": ("num_classes", "in_channels", "image_size"),
    "model.head": ("in_features", "num_classes"),
    "optimizer": ("params",),
    "logger.*": ("save_dir",),
}
# What Podium fills in where the configuration leaves it out or says null.
FILLED_IN = {"data": ("root", "sample"), "callbacks.soft_labels": ("path",)}
# Podium's own functions between part and target: their optional arguments are keys of the part too.
BUILDERS = {
    "optimizer": (
        "common.model.optimizers.parameter_groups",
        "common.model.gradient_centralization.centralize",
    )
}
# Packages that a target imports only when it is called.
NEEDS = {
    "pytorch_lightning.loggers.WandbLogger": "wandb",
    "pytorch_lightning.loggers.TensorBoardLogger": "tensorboard",
}
HYDRA_KEYS = {"_target_", "_args_", "_partial_", "_recursive_", "_convert_"}


def check(
    config: DictConfig | Mapping[str, Any],
    sources: Mapping[str, str] | None = None,
    passed: Mapping[str, tuple[str, ...]] = PASSED,
    where: str = "",
) -> None:
    """Raise one PodiumError with a line for each mistake in the configuration's parts.

    Args:
        config: a composed configuration, or any nested dictionary of parts.
        sources: for messages, where keys were set: key -> file or "command line".
        passed: the arguments that the caller passes to the part at a key.
        where: put before each message.
    """
    whole: Any = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else config
    values = {key: value for key, value in whole.items() if key != "stages"}  # each is checked by itself
    problems = []
    for key, near in half_parts(values):
        problems.append(
            f"{where}{said_by(key, sources or {})}there is no {key}{near}; a new one needs its _target_"
        )
    for at, part in parts(values):
        given = passed.get(at) or passed.get(f"{at.rpartition('.')[0]}.*", ())
        for key, problem in part_problems(at, part, given):
            problems.append(f"{where}{said_by(key, sources or {})}{problem}")
    if problems:
        raise PodiumError("\n".join(problems))


def parts(node: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes with a `_target_`, at any depth, with their keys; a list's items are numbered from 0."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield at, dict(node)
        items: Iterator[tuple[Any, Any]] = iter(node.items())
    else:
        items = enumerate(node) if isinstance(node, list) else iter(())
    for name, child in items:
        yield from parts(child, f"{at}.{name}" if at else str(name))


def half_parts(node: Any, at: str = "", inside: bool = False) -> Iterator[tuple[str, str]]:
    """Dictionaries without `_target_` among the named parts that a part takes, such as misspelt views of TTA.

    Yields (key, suggestion of another name among them).
    """
    if not isinstance(node, Mapping):
        return
    inside = inside or "_target_" in node
    named = {name: child for name, child in node.items() if isinstance(child, Mapping)}
    whole = [name for name, child in named.items() if "_target_" in child]
    if inside and whole and "_target_" not in node:
        for name in named.keys() - whole:
            yield f"{at}.{name}", suggest(name, whole)
    for name, child in named.items():
        yield from half_parts(child, f"{at}.{name}" if at else str(name), inside)


def part_problems(
    at: str, part: Mapping[str, Any], passed: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """What is wrong with one part: (key, message that names the key)."""
    target, its_key = part["_target_"], f"{at}._target_"
    if not isinstance(target, str) or "." not in target:
        yield its_key, f"{its_key} must be a dotted path such as package.module.Name, got {show(target)}"
        return
    if (now := current_target(target)) != target:
        yield its_key, f"{its_key}={target} is now {now}"
        return
    try:
        known = _with_builder(at, signature(target))
    except NotFound as error:
        yield its_key, f"{its_key}={target}: {error}"
        return
    except SyntaxError as error:
        yield its_key, f"{its_key}={target}: {error.filename} line {error.lineno}: {error.msg}"
        return
    except Opaque:
        return
    needed = NEEDS.get(target)
    if needed and PathFinder.find_spec(needed) is None:
        yield at, f"{at} needs the package {needed}, which is not installed: pip install {needed}"
    for name, value in part.items():
        if name not in HYDRA_KEYS and not (value is None and name in FILLED_IN.get(at, ())):
            problem = _argument_problem(f"{at}.{name}", name, value, known, target, passed)
            if problem:
                yield f"{at}.{name}", problem
    refused = [name for name in passed if name not in known.parameters and not known.open]
    if refused:
        yield its_key, f"{its_key}={target} does not take {', '.join(refused)}, which Podium passes"
    if "_args_" in part or part.get("_partial_"):
        return
    for name, parameter in known.parameters.items():
        if parameter.required and name not in (*part, *passed, *FILLED_IN.get(at, ())):
            wanted = f" ({describe(parameter.annotation)})" if parameter.annotation is not EMPTY else ""
            yield at, f"{at}.{name} is missing: {target} requires it{wanted}"


def _with_builder(at: str, known: Signature) -> Signature:
    if at not in BUILDERS:
        return known
    of_builders = [item for builder in BUILDERS[at] for item in signature(builder).parameters.items()]
    extra = {name: parameter for name, parameter in of_builders if not parameter.required}
    return Signature({**extra, **known.parameters})


def _argument_problem(
    key: str, name: str, value: Any, known: Signature, target: str, passed: tuple[str, ...]
) -> str | None:
    if name in passed:
        return f"{key} is passed by Podium itself and cannot be configured"
    if name not in known.parameters:
        if known.open:
            return None
        names = [other for other in known.parameters if other not in passed]
        near = nearest(name, names)
        hint = f"did you mean {key.removesuffix(name)}{near}?" if near else f"{target} takes {listed(names)}"
        return f"there is no key {key}; {hint}"
    parameter = known.parameters[name]
    if (value is None and parameter.nullable) or accepts(parameter.annotation, value):
        return None
    return f"{key} must be {describe(parameter.annotation)}, got {show(value)}"
