"""Names of this code that files made before still hold: run folders, checkpoints and exported files."""

from typing import Any

MODULES = {  # of targets: where a module was → where it is
    "common.callbacks.tta_scales": "common.callbacks.tta",
    "common.data.batch_views": "common.data.augmentation.batch_views",
    "common.data.copies": "common.data.edits.copies",
    "common.model.backbones": "common.model.networks.backbones",
    "common.model.fusion": "common.model.networks.fusion",
    "common.model.heads": "common.model.networks.heads",
    "common.model.level_heads": "common.model.networks.level_heads",
    "common.model.small_resnet": "common.model.networks.small_resnet",
    "common.run.launchers": "common.train.launch.launchers",
}


def current(node: Any) -> Any:
    """A configuration as a file holds it, its targets by today's names."""
    if isinstance(node, dict):
        return {
            key: current_target(value) if key == "_target_" else current(value) for key, value in node.items()
        }
    return [current(value) for value in node] if isinstance(node, list) else node


def current_target(target: Any) -> Any:
    """Today's name of a target."""
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    return f"{MODULES[module]}.{name}" if module in MODULES else target
