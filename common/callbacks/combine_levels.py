"""CombineLevels: a leaf is believed as far as its ancestors are."""

from dataclasses import replace

import pytorch_lightning as pl
from torch import Tensor

from common.config.nearest import suggest
from common.errors import PodiumError
from common.model.step_hooks import Outputs, StepHooks
from common.task.hierarchy import combine_levels


class CombineLevels(pl.Callback):
    """Predict by the leaf's probability times those that the coarser levels' heads give its ancestors.

    p(leaf) ∝ p_leaf(leaf) · Π p_level(ancestor at level)^power. Nothing is trained by it, so it can be tried on a run
    that is there: `weights_from=<run> callbacks.combine_levels.power=0.5`. With TTA each view is combined, then the
    mean is taken.

    Args:
        power: ≥ 0, for every coarser level, or level → power; 0, or a level left out, does not count.
    """

    def __init__(self, power: float | dict[str, float] = 1.0) -> None:
        powers = power if isinstance(power, dict) else {"": power}
        for level, value in powers.items():
            if not value >= 0:
                key = f"callbacks.combine_levels.power{'.' if level else ''}{level}"
                raise PodiumError(f"{key} must be at least 0, got {value}")
        self.power = power

    def step_hooks(self, hooks: StepHooks) -> StepHooks:
        powers = (
            self.power if isinstance(self.power, dict) else dict.fromkeys(hooks.parents, float(self.power))
        )
        for level in powers:
            if level not in hooks.parents:
                raise PodiumError(
                    f"callbacks.combine_levels.power: there is no level {level}{suggest(level, hooks.parents)}; "
                    f"the levels above the leaves are {', '.join(hooks.parents) or 'none'}"
                )

        def probabilities(outputs: Outputs) -> Tensor:
            if not isinstance(outputs, dict):
                raise PodiumError(
                    "callbacks.combine_levels needs a network with one head per level, but this one returns a single "
                    "set of logits: choose model=timm_levels, or callbacks.combine_levels=null"
                )
            counting = {level: power for level, power in powers.items() if power and level in outputs}
            return combine_levels(hooks.probabilities(outputs), outputs, hooks.parents, counting)

        return replace(hooks, probabilities=probabilities)
