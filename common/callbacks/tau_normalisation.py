"""TauNormalisation: predict with the classifier's rows brought to more equal lengths."""

import pytorch_lightning as pl
from torch import Tensor, nn

from common.errors import PodiumError
from common.model.networks.backbone_parts import classifiers_of
from common.model.networks.heads import CosineHead


class TauNormalisation(pl.Callback):
    """Each class's row of weights w counts as w / ‖w‖^τ when a trained model predicts; biases are left out.

    Rows of frequent classes grow longer in training; this takes the advantage away. Nothing is trained and
    checkpoints stay as they are, so τ can be chosen afterwards: `weights_from=<run>
    callbacks.tau_normalisation.tau=0.5` scores a run's models anew. Validation while training is without it.
    Kang et al. 2020, https://arxiv.org/abs/1910.09217, section 4.3.

    Args:
        tau: in [0, 1]; 1 makes all rows equally long, 0 only leaves out the biases.
    """

    def __init__(self, tau: float = 0.7) -> None:
        if not 0 <= tau <= 1:
            raise PodiumError(f"callbacks.tau_normalisation.tau must be in [0, 1], got {tau}")
        self.tau = tau

    def before_predicting(self, module: pl.LightningModule) -> None:
        """Make this module, loaded to predict, do so. PodiumError where no layer has a row for each class."""
        network, num_classes = module.net, len(module.class_names)  # type: ignore[arg-type]
        parts = classifiers_of(network) or [network]  # type: ignore[arg-type, list-item]
        layers = [layer for part in parts for layer in part.modules()]
        if any(isinstance(layer, CosineHead) for layer in layers):
            raise PodiumError(
                "callbacks.tau_normalisation: the rows of a cosine head count by their direction alone, whatever "
                "their length; set callbacks.tau_normalisation=null"
            )
        rows = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
        last = [layer for layer in rows if len(layer.weight) == num_classes][-1:]
        if not last:
            raise PodiumError(
                f"callbacks.tau_normalisation: the network has no linear or convolutional layer with a row for each "
                f"of the {num_classes} classes"
            )
        last[0].register_forward_hook(self._normalise)

    def _normalise(self, layer: nn.Linear | nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """The output that the layer would have with its rows normalised: (B, K) or (B, K, H, W)."""
        across = (-1,) if isinstance(layer, nn.Linear) else (-1, 1, 1)
        if layer.bias is not None:
            output = output - layer.bias.view(across)
        return output / layer.weight.flatten(1).norm(dim=1).view(across) ** self.tau
