"""The arguments of a class or function, read from its source."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.config.source import Definition, Opaque, locate, resolve

NO_ARGUMENTS = {"object", "Generic", "Protocol", "ABC"}  # bases that add no constructor
# Bases that take **kwargs and then refuse them.
NO_KEYWORDS = {"torch.nn.modules.module.Module", "pytorch_lightning.core.module.LightningModule"}


@dataclass(frozen=True)
class Parameter:
    """One argument. `nullable`: its default is None, whatever its annotation says."""

    annotation: ast.expr | None
    required: bool
    nullable: bool = False


@dataclass(frozen=True)
class Signature:
    """What may be given by name. `open`: it takes any further name (`**kwargs`) for who knows what."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    open: bool = False


def signature(target: str) -> Signature:
    """The arguments that a dotted path's class or function takes by name.

    Raises:
        NotFound: there is no such class or function.
        Opaque: the source does not tell.
    """
    definition = locate(target)
    if isinstance(definition.node, ast.ClassDef):
        return _of_class(definition) or Signature()
    return _of_function(definition, None)


def _of_class(definition: Definition) -> Signature | None:
    """A class's constructor; None if neither it nor a base has one of its own."""
    node = definition.node
    assert isinstance(node, ast.ClassDef)
    if f"{definition.module.name}.{node.name}" in NO_KEYWORDS:
        return Signature()
    own = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__init__" in own:
        return _of_function(Definition(definition.module, own["__init__"]), owner=definition)
    if _is_dataclass(node):
        return Signature(_fields(definition))
    if node.decorator_list:  # such as attrs: a constructor made by who knows what rule
        raise Opaque
    if "__new__" in own:
        return _of_function(Definition(definition.module, own["__new__"]), owner=definition)
    for base in _bases(definition):
        inherited = _of_class(base)
        if inherited is not None:
            return inherited
    return None


def _of_function(definition: Definition, owner: Definition | None) -> Signature:
    """A function's arguments; without the first if it is the constructor of `owner`."""
    node = definition.node
    assert isinstance(node, ast.FunctionDef)
    named = [*node.args.posonlyargs, *node.args.args]
    defaults = [*[None] * (len(named) - len(node.args.defaults)), *node.args.defaults]
    decorators = {decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)}
    bound = owner is not None or "classmethod" in decorators
    arguments = [*named, *node.args.kwonlyargs][bound:]
    values = [*defaults, *node.args.kw_defaults][bound:]
    pairs = zip(arguments, values, strict=True)
    own = {argument.arg: _parameter(argument.annotation, default) for argument, default in pairs}
    if node.args.kwarg is None:
        return Signature(own)
    passed_on = _passed_to_super(node, node.args.kwarg.arg) if owner else None
    if owner is None or passed_on is None:
        return Signature(own, open=True)
    for base in _bases(owner):
        inherited = _of_class(base)
        if inherited is not None:
            by_place = [word for word in passed_on.args if not isinstance(word, ast.Starred)]
            given = {word.arg for word in passed_on.keywords} | {*list(inherited.parameters)[: len(by_place)]}
            rest = {name: value for name, value in inherited.parameters.items() if name not in given}
            return Signature(rest | own, inherited.open)
    return Signature(own)


def _passed_to_super(node: ast.FunctionDef, kwargs: str) -> ast.Call | None:
    """The call `super().__init__(…, **kwargs)`, if there is one, and it is the only use of `kwargs`."""
    if sum(isinstance(name, ast.Name) and name.id == kwargs for name in ast.walk(node)) != 1:
        return None
    calls = (call for call in ast.walk(node) if isinstance(call, ast.Call))
    for call in calls:
        passes = any(word.arg is None and ast.unparse(word.value) == kwargs for word in call.keywords)
        if passes and ast.unparse(call.func) == "super().__init__":
            return call
    return None


def _bases(definition: Definition) -> list[Definition]:
    """The base classes that may have a constructor."""
    assert isinstance(definition.node, ast.ClassDef)
    found = []
    for base in definition.node.bases:
        plain = base.value if isinstance(base, ast.Subscript) else base  # Generic[T]
        if ast.unparse(plain).split(".")[-1] not in NO_ARGUMENTS:
            resolved = resolve(definition.module, plain)
            if not isinstance(resolved, Definition) or not isinstance(resolved.node, ast.ClassDef):
                raise Opaque
            found.append(resolved)
    return found


def _fields(definition: Definition) -> dict[str, Parameter]:
    """The fields of a dataclass and of the dataclasses it inherits from."""
    assert isinstance(definition.node, ast.ClassDef)
    found: dict[str, Parameter] = {}
    for base in reversed(_bases(definition)):
        if isinstance(base.node, ast.ClassDef) and _is_dataclass(base.node):
            found |= _fields(base)
    for item in definition.node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(item.annotation) or "KW_ONLY" in ast.unparse(item.annotation):
            continue
        options: dict[str | None, ast.expr] = {}
        default = item.value
        if isinstance(default, ast.Call) and ast.unparse(default.func).split(".")[-1] == "field":
            options = {keyword.arg: keyword.value for keyword in default.keywords}
            default = options.get("default", options.get("default_factory"))
        if not ("init" in options and ast.unparse(options["init"]) == "False"):
            found[item.target.id] = _parameter(item.annotation, default)
    return found


def _parameter(annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    nullable = isinstance(default, ast.Constant) and default.value is None
    return Parameter(annotation, required=default is None, nullable=nullable)


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = (ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list)
    return any(name.split(".")[-1] == "dataclass" for name in names)
