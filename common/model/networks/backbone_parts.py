"""Which part of a network is its classifier, and what its backbone: for freezing and for features computed once."""

from typing import Any

from torch import nn

# What may stand before a module's name as its own network knows it: see WithHead, Depths and Branched.
WRAPPERS = ("", "backbone.", "backbone.trunk.")


def classifiers_of(net: nn.Module) -> list[nn.Module]:
    """The part that is new for each set of classes, by the first submodule with timm's `get_classifier()`.

    Distilled networks have two such parts. Empty where no submodule says which it is.
    """
    for submodule in net.modules():
        get_classifier: Any = getattr(submodule, "get_classifier", None)
        if get_classifier is not None:
            classifiers = get_classifier()
            return list(classifiers) if isinstance(classifiers, tuple | list) else [classifiers]
    return []


def backbone_of(net: nn.Module) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """Everything but the classifier: the largest submodules with a state of their own, and all parameters.

    The parameters include those that lie in no such submodule, as the position embedding of a transformer does. What
    has no state, such as the dropout before the classifier, is in neither list.
    """
    classifier = {id(module) for part in classifiers_of(net) for module in part.modules()}
    modules: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            if id(child) in classifier:
                continue
            if classifier & {id(inner) for inner in child.modules()}:
                visit(child)
            elif child.state_dict():
                modules.append(child)

    visit(net)
    learning = {id(p) for part in classifiers_of(net) for p in part.parameters()}
    return modules, [parameter for parameter in net.parameters() if id(parameter) not in learning]
