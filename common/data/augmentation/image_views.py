"""Views per image, in the workers: imgaug's augmenters by name. The one module that touches imgaug.

A list of steps, each a name and its arguments:

    - Invert: {p: 0.5}
    - Sometimes: {p: 0.5, then: [{GaussianBlur: {sigma: [0, 2.0]}}]}
    - Affine: {rotate: [-10, 10], order: {choice: [0, 1]}}
    - OneOf: {children: [{MotionBlur: {k: 3}}, {MedianBlur: {k: 3}}], weights: [0.3, 0.7]}
    - ResizedCrop: {size: 180, scale: [0.08, 1.0]}
    - Fliplr: 0.5

Names are the classes of `imgaug.augmenters` (https://imgaug.readthedocs.io), and two of our own below;
arguments are theirs. A YAML list is imgaug's tuple (mostly: a range to draw from), `{choice: [...]}` is
imgaug's list (draw one of these). Where an augmenter takes augmenters (`children`, `then`, `else`,
`foreground`, `background`), give a list of steps. An argument that is not a mapping is the augmenter's first.
"""

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import imgaug.augmenters as iaa
import numpy as np
from imgaug.augmentables.batches import _BatchInAugmentation
from imgaug.parameters import no_prefetching
from imgaug.random import RNG

from common.data.augmentation.randomness import numpy_generator, reseed
from common.data.reading.images import Image, fit
from common.errors import PodiumError


class ImageViews:
    """A list of steps as one function: (uint8 (H, W, C), key) → uint8 (H, W, C) of perhaps another size.

    The view depends on the image and the key alone: all augmenters of the tree share one generator, which is
    set from the key before each image, and imgaug's prefetching of random numbers is off. The image is not
    changed (without steps, it is returned).

    Raises PodiumError for an unknown augmenter or argument, with the nearest right name, and for a picture
    that an augmenter cannot take (many colour augmenters need 3 channels).
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        self._rng = _KeyedRNG(numpy_generator(0))
        with no_prefetching():
            self._augment = iaa.Sequential(_build_all(steps, "views.image"))
        _share(self._rng, self._augment)

    def __call__(self, image: Image, key: int) -> Image:
        if not len(self._augment):
            return image
        reseed(self._rng.generator, key)
        try:
            # Not augment_image: it spends a tenth of a view's time on kinds of data that are not there.
            batch = _BatchInAugmentation(images=[image.copy()])
            view: Image = self._augment.augment_batch_(batch).images[0]
        except Exception as error:  # imgaug checks by assert and by bare Exception
            raise PodiumError(f"views.image fails on an image of shape {image.shape}: {error}") from error
        return view


class ResizedCrop(iaa.Augmenter):
    """A random part of the picture, resized to `size` (an int, or height and width).

    scale: range of the part's share of the area. ratio: range of its width / height, drawn on a log scale. As
    in torchvision's RandomResizedCrop (Szegedy et al., «Going deeper with convolutions», 2015): if ten draws
    do not fit into the picture, the largest centred part within `ratio` is taken.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else size
        self.scale, self.ratio = scale, ratio

    def get_parameters(self) -> list[Any]:
        return [self.size, self.scale, self.ratio]

    def _augment_batch_(self, batch: Any, random_state: RNG, parents: Any, hooks: Any) -> Any:
        batch.images = [self._view(image, random_state.generator) for image in batch.images]
        return batch

    def _view(self, image: Image, generator: np.random.Generator) -> Image:
        top, left, height, width = self._box(image.shape[0], image.shape[1], generator)
        return fit(image[top : top + height, left : left + width], self.size)

    def _box(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = height * width * generator.uniform(*self.scale)
            ratio = math.exp(generator.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                return int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1)), h, w
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        h, w = max(1, min(height, round(width / ratio))), max(1, min(width, round(height * ratio)))
        return (height - h) // 2, (width - w) // 2, h, w


class OneOf(iaa.Augmenter):
    """One of the children for each image, by weight (imgaug's own OneOf has no weights)."""

    def __init__(self, children: list[Any], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        shares = np.asarray(weights if weights is not None else [1] * len(children), float)
        if len(shares) != len(children) or not (shares >= 0).all() or not shares.sum() > 0:
            raise ValueError(f"weights must be {len(children)} numbers >= 0 with a sum > 0, got {weights}")
        self.children, self.cumulative = children, np.cumsum(shares / shares.sum())

    def get_parameters(self) -> list[Any]:
        return [self.cumulative]

    def get_children_lists(self) -> list[list[Any]]:
        return [self.children]

    def _augment_batch_(self, batch: Any, random_state: RNG, parents: Any, hooks: Any) -> Any:
        drawn = int(np.searchsorted(self.cumulative, random_state.generator.random(), side="right"))
        child = self.children[min(drawn, len(self.children) - 1)]  # rounding: the last sum may be below 1
        return child.augment_batch_(batch, parents=[*parents, self], hooks=hooks)


class _KeyedRNG(RNG):
    """Without imgaug's extra step after each draw, which costs more than the draw and adds nothing to it."""

    def advance_(self) -> "_KeyedRNG":
        return self


_OURS: dict[str, type] = {"ResizedCrop": ResizedCrop, "OneOf": OneOf}
_AUGMENTERS: dict[str, type] = {
    name: value
    for name, value in vars(iaa).items()
    if inspect.isclass(value) and issubclass(value, iaa.Augmenter) and not inspect.isabstract(value)
} | _OURS
_HOLD_STEPS = ("children", "then_list", "else_list", "foreground", "background")
_SHORT_NAMES = {"then": "then_list", "else": "else_list"}
_NOT_FOR_USERS = ("self", "seed", "name", "random_state", "deterministic")


def _build_all(steps: Any, where: str) -> list[Any]:
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise PodiumError(f"{where} must be a list of steps, `- Name: {{argument: value}}`, got {steps!r}")
    return [_build(step, f"{where}[{i}]") for i, step in enumerate(steps)]


def _build(step: Any, where: str) -> Any:
    if isinstance(step, str):
        step = {step: {}}
    if not isinstance(step, Mapping) or len(step) != 1:
        raise PodiumError(f"{where} must be one `Name: {{argument: value}}`, got {step!r}")
    ((name, given),) = step.items()
    if name not in _AUGMENTERS:
        raise PodiumError(f"{where}: no augmenter is called {name!r}.{_nearest(name, _AUGMENTERS)}")
    where, kind = f"{where}.{name}", _AUGMENTERS[name]
    known = [key for key in inspect.signature(kind).parameters if key not in _NOT_FOR_USERS]
    if given is None:
        given = {}
    elif not isinstance(given, Mapping) or (set(given) == {"choice"} and "choice" not in known):
        given = {next(iter(known), "value"): given}
    arguments = {}
    for key, value in given.items():
        target = _SHORT_NAMES.get(key, key)
        if target not in known:
            raise PodiumError(f"{where} has no argument {key!r}.{_nearest(key, known)}")
        if target in _HOLD_STEPS and value is not None:
            arguments[target] = _build_all(value, f"{where}.{key}")
        else:
            arguments[target] = _plain(value)
    try:
        return kind(**arguments)
    except Exception as error:
        raise PodiumError(f"{where} refuses {dict(given)}: {error}") from error


def _share(rng: RNG, augmenter: Any) -> None:
    """Give the generator to an augmenter and all below it, also those that it made for itself."""
    augmenter.random_state = rng
    for children in augmenter.get_children_lists():
        if isinstance(children, iaa.Augmenter) and children is not augmenter:  # a Sequential is a list, too
            children = [children]
        for child in children:
            _share(rng, child)


def _plain(value: Any) -> Any:
    """YAML's value → imgaug's: lists become tuples, `{choice: list}` a list."""
    if isinstance(value, Mapping):
        if set(value) == {"choice"}:
            return [_plain(item) for item in value["choice"]]
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(item) for item in value)
    return value


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(close)}?"
    return f" It takes: {', '.join(known)}." if len(known) < 20 else ""
