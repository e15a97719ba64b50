"""What pretrained weights want of their pictures: mean and std, and how pictures were resized when they were trained.

It is taken where no layer says otherwise, so it stands in the composed configuration, in checkpoints and in exports.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from common.packages import PIP_WEIGHTS

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
RESIZED = ("bilinear", "bicubic")  # of timm's names, those that pictures can be resized by
TAKEN = ("module.mean", "module.std", "data.interpolation")


def demanded(config: Mapping[str, Any]) -> dict[str, Any]:
    """Key of TAKEN → what the weights that `model.pretrained` names want; {} for none, or where nobody knows.

    What a checkpoint of Podium wants is read where training begins.

    For grey pictures (`data.channels`: 1), whose first convolution is the sum over RGB, mean and std are the mean over
    RGB. config: composed, or of a run.
    """
    model = config.get("model") or {}
    source, name, target = (str(model.get(key) or "") for key in ("pretrained", "name", "_target_"))
    if source in ("", "none", "None") or source.endswith(".ckpt") or "${" in f"{source}{name}":
        return {}
    found: tuple[Any, Any, str | None] | None
    if target.endswith(".efficientnet"):
        found = (*(HALF if model.get("advprop") else IMAGENET), None)
    elif name.partition(".")[0] in PIP_WEIGHTS:
        found = (*HALF, "bicubic")
    else:
        found = _of_timm(name)
    if found is None:
        return {}
    mean, std, interpolation = found
    wanted: dict[str, Any] = {
        "module.mean": for_channels(mean, config),
        "module.std": for_channels(std, config),
    }
    return wanted | ({"data.interpolation": interpolation} if interpolation in RESIZED else {})


def for_channels(values: Sequence[float], config: Mapping[str, Any]) -> list[float]:
    """Mean or std of RGB as the configuration's pictures have it: for grey ones the mean over RGB."""
    if (config.get("data") or {}).get("channels", 3) == 1:
        return [round(sum(values) / len(values), 6)]
    return [*map(float, values)]


def otherwise(config: Mapping[str, Any], demand: Mapping[str, Any]) -> list[str]:
    """A sentence for each key of a composed configuration that says otherwise than the weights demand."""
    said = []
    for key, wanted in demand.items():
        section, name = key.split(".")
        if key == "data.interpolation" and config["model"].get("pretrained") == "pip":
            continue  # Podium's own recipes know these weights
        taken = config[section].get(name)
        if taken is not None and not _equal(taken, wanted):
            said.append(
                f"{key}={taken} is taken, as it was chosen; the pretrained weights were made for {wanted}"
            )
    return said


def _equal(taken: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return taken == wanted
    pairs = zip([*taken] * (len(wanted) if len(taken) == 1 else 1), wanted, strict=False)
    return len(taken) in (1, len(wanted)) and all(abs(one - other) < 1e-4 for one, other in pairs)


def _of_timm(name: str) -> tuple[Any, Any, str | None] | None:
    """By the configuration of a network's weights, which a tag behind its name may choose: "resnet18.a1_in1k"."""
    import timm  # takes seconds, and most compositions name no weights
    from timm.models._registry import _deprecated_models as renamed

    name = renamed.get(name) or name  # timm builds these too; no public function says what they became
    try:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a tag that the network does not have, which building it says
        config = None
    return None if config is None else (config.mean, config.std, config.interpolation)
