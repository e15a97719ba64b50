"""One's own folder: what is taken where a competition names its pictures and little else.

These layers lie above conf/train.yaml and below the competition's file, so that anything chosen by hand wins: a network
by `model=` (or `model.name`, `model._target_`), whose recipe is then that of conf/train.yaml; augmentations by `views=`
(or views with a `_target_`); a size by `data.size`; where weights begin by `model.pretrained`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.config.layers import Layer, SearchPath, read_yaml

FOLDER_DATA = "common.data.folder.FolderData"
VIEWS = ("photos", "strokes", "light")  # options of conf/views; light is safe for either
BY_PICTURES = "by the pictures"  # in place of a file, where the pictures have chosen


@dataclass(frozen=True)
class Facts:
    """What composing cannot know.

    pretrained: whether the packaged weights can be had. views: which of VIEWS fits the pictures.
    """

    pretrained: bool = True
    views: str = "light"


ASSUMED = Facts()  # before anybody has looked


def own_layers(path: SearchPath, layers: Sequence[Layer], facts: Facts) -> tuple[list[Layer], frozenset[str]]:
    """The layers below these, and what these leave open: of `size`, `views` and `weights`.

    Nothing where the data class is another than FolderData.
    """
    below = Layer("", values=read_yaml(path.file("", "train")))
    if _last([below, *layers], "data", "_target_") != FOLDER_DATA:
        return [], frozenset()
    own = list(path.layers("own", "pictures"))
    still_open = set()
    if _last(layers, "data", "size") is None:
        still_open.add("size")
    if not _names_views(layers):
        still_open.add("views")
        own.append(Layer(BY_PICTURES, {"views": facts.views}, _of_strokes(facts.views == "strokes")))
    elif _chosen(layers, "views") == "strokes":
        own.append(Layer(BY_PICTURES, values=_of_strokes(True)))
    pretrained = _last(layers, "model", "pretrained")
    if not _names_network(layers) and pretrained != "none":
        if pretrained is None:
            still_open.add("weights")
        if facts.pretrained or pretrained is not None:
            own += path.layers("own", "pretrained")
    return own, frozenset(still_open)


def _last(layers: Sequence[Layer], *keys: str) -> Any:
    """What the highest layer says of a key; None if none does."""
    for layer in reversed(layers):
        value: Any = layer.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _of_strokes(strokes: bool) -> dict[str, Any]:
    """Values: a mirrored character may be another one."""
    return {"data": {"turned_duplicates": False}} if strokes else {}


def _chosen(layers: Sequence[Layer], group: str) -> str | None:
    """The option that the highest layer takes of a group."""
    return next((layer.choices[group] for layer in reversed(layers) if group in layer.choices), None)


def _names_network(layers: Sequence[Layer]) -> bool:
    chosen = any("model" in layer.choices for layer in layers)
    return chosen or any(_last(layers, "model", key) is not None for key in ("_target_", "name"))


def _names_views(layers: Sequence[Layer]) -> bool:
    if any("views" in layer.choices or _last([layer], "views", "image") for layer in layers):
        return True
    batches = [_last([layer], "views", "batch") for layer in layers]
    components = [
        component for batch in batches if isinstance(batch, Mapping) for component in batch.values()
    ]
    return any(isinstance(component, Mapping) and "_target_" in component for component in components)
