"""The module of calligraphy: what Podium's classifier does not already do is its network, chosen in the YAML."""

from common.model.classifier import ImageClassifier


class CalligraphyModule(ImageClassifier):
    """Brush characters, scored by top-1 and top-5 accuracy.

    The networks are parts: see `model` in conf/competition/calligraphy.yaml, and network.py for the original's.
    """
