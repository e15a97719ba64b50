"""Heads: from the last feature map of a backbone (B, F, H, W) to logits (B, K)."""

from torch import Tensor, nn


class LinearHead(nn.Module):
    """Global average, dropout, one linear layer: the head of most published networks.

    dropout: share of features set to 0 in training, in [0, 1).
    """

    def __init__(self, in_features: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features.mean((-2, -1))))


class ConvHead(nn.Module):
    """A fully convolutional classifier: 3x3 convolution of stride 2 to one map per class, then its average.

    It sees where a stroke is, which a global average does not, with far fewer weights than a fully connected
    layer on the flattened map. Nothing is padded, so the map must be at least 3 pixels a side, or 5 with
    `hidden`.

    hidden: channels of a 3x3 convolution, batch norm and ReLU before it, for wide backbones; None leaves it
    out.
    dropout: share of feature channels set to 0 in training, in [0, 1).
    """

    def __init__(
        self, in_features: int, num_classes: int, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.squeeze = nn.Identity() if hidden is None else _conv_norm_act(in_features, hidden)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(hidden or in_features, num_classes, kernel_size=3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        return self.classify(self.dropout(self.squeeze(features))).mean((-2, -1))


def _conv_norm_act(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
