"""What a received file may name: by its path alone, by what the path leads to, and by who trusts it."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from common import trust
from common.build import build
from common.config.layers import CONF
from common.errors import PodiumError

HOSTILE = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "numpy.testing.runstring",
    "torch.hub.load",
    "torch.load",
    "torch.nn.Module.__init__",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.optimizer._use_grad_for_differentiable",
    "hydra.utils.instantiate",
    "functools.partial",
    "timm.create_model",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.loggers.MLFlowLogger",
    "common.build.build",
    "common.build.resolve",
    "common.trust.import_module",
    "common.trust.resolve",
    "common.train.train.train",
    "common.train.job.run_job",
    "common.run.components.load_module",
    "common.run.components.make_data",
    "common.run.folder.os.system",
    "common.run.folder.shutil.rmtree",
    "common.run.folder.write_text",
    "common.train.launch.commands.subprocess.run",
    "common.train.launch.commands.start",
    "common.train.launch.commands.Batch",
    "common.data.reading.images.cv2.imread",
    "common.data.reading.images.build",
    "common.model.networks.pretrained.from_hub",
    "common.model.checkpoint.load_checkpoint",
    "common.callbacks.checkpoints.AtomicCheckpointIO.remove_checkpoint",
    "common.__main__.main",
    "competitions.garbage.data.GarbageData.write_sample",
    "common",
    "common.",
    ".common.build",
    "common..build.build",
    "common.build:build",
    "common.no_such_module.Thing",
    "common.deliver.submission.NoSuchThing",
    "commons.Thing",
    3,
    None,
    ["os.system"],
    {"_target_": "os.system"},
]


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch):
    """As for a stranger: the tests' own toys are not trusted here."""
    monkeypatch.delenv(trust.VARIABLE)
    with trust.scope():
        trust._named.clear()
        yield


@pytest.mark.parametrize("kind", [*trust.KINDS, "part"])
def test_nothing_that_runs_builds_or_writes_is_taken_for_any_kind(kind):
    for target in HOSTILE:
        with pytest.raises(PodiumError):
            trust.resolve(target, kind)


def test_what_the_path_speaks_against_is_never_imported(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Net: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(trust.Refused, match=r"stranger.*trust=stranger.*conf/trust.yaml"):
        build({"_target_": "stranger.Net"}, "network")
    assert not (tmp_path / "ran").exists()


def targets_of(node, at):
    if isinstance(node, dict):
        if "_target_" in node:
            yield at, node["_target_"]
        for key, child in node.items():
            yield from targets_of(child, f"{at}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from targets_of(child, f"{at}.{number}")


def test_all_that_podium_ships_is_taken_at_its_place():
    """Every `_target_` of conf/: by its key; those within comments and words of sweeps as any kind."""
    found = 0
    for file in sorted(CONF.rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        group = file.parent.relative_to(CONF).as_posix()
        content = yaml.safe_load(text) or {}
        if group not in (".", "competition", "experiment", "sweep", "trainer"):
            at = f"{group}.{file.stem}" if group in ("callbacks", "logger") else group
            for key, target in targets_of(content, at):
                assert trust.resolve(target, trust.kind_of(key))
                assert trust.kind_of(key) != "part", key
                found += 1
        elif group == "competition":
            for key, target in targets_of(content, ""):
                assert trust.resolve(target, trust.kind_of(key)) and trust.kind_of(key) != "part", key
                found += 1
        for target in re.findall(r"_target_: ([\w.]*\w)", text):
            assert trust.resolve(target)
    assert found > 60


@pytest.mark.parametrize(
    ("target", "kind", "other"),
    [
        ("common.train.launch.launchers.Serial", "launcher", "view"),
        ("common.model.schedules.Constant", "schedule", "picture"),
        ("common.model.classifier.ImageClassifier", "module", "network"),
        ("common.deliver.submission.TopK", "submission", "service"),
        ("torch.optim.SGD", "optimizer", "network"),
        ("pytorch_lightning.callbacks.EarlyStopping", "callback", "loss"),
        ("common.model.networks.backbones.timm_model", "network", "submission"),
        ("competitions.garbage.contract.GarbageContract", "service", "callback"),
    ],
)
def test_a_kind_is_taken_at_its_own_place_alone(target, kind, other):
    assert trust.resolve(target, kind)
    with pytest.raises(trust.Refused):
        trust.resolve(target, other)


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("import os\nfrom theirs.nets import Net\n")
    (tmp_path / "theirs" / "nets.py").write_text("class Net: ...\ndef make(): return Net()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "theirs"]:
        del sys.modules[name]


@pytest.mark.parametrize("how", ["option", "list", "variable", "file"])
def test_a_package_is_trusted_by_whoever_calls(how, package, monkeypatch):
    with pytest.raises(trust.Refused):
        trust.resolve("theirs.Net", "network")
    match how:
        case "option":
            trust.also("other,theirs")
        case "list":
            trust.also(["theirs"])
        case "variable":
            monkeypatch.setenv(trust.VARIABLE, "theirs")
        case "file":
            (package / "trust.yaml").write_text("packages: [theirs]")
            monkeypatch.setattr(trust, "FILE", package / "trust.yaml")
    assert trust.resolve("theirs.Net", "network")
    assert trust.resolve("theirs.nets.make", "network")
    for target in ("theirs.os.system", "theirs.nets.Net.mro", "theirsnot.Net"):
        with pytest.raises(PodiumError):
            trust.resolve(target, "network")


@pytest.mark.parametrize("given", [3, ["a b"], "a/b", [3], "../theirs", {"a": 1}])
def test_what_is_no_package_is_not_trusted(given):
    with pytest.raises(PodiumError, match="trust"):
        trust.also(given)


@pytest.mark.parametrize(
    "text", ["packages: 3", "packages: {a: 1}", "- theirs", "packages: [a/b]", "{", "\x00"]
)
def test_a_damaged_file_of_trust_is_named(text, tmp_path, monkeypatch):
    (tmp_path / "trust.yaml").write_text(text)
    monkeypatch.setattr(trust, "FILE", tmp_path / "trust.yaml")
    with pytest.raises(PodiumError, match=r"trust\.yaml"):
        trust.resolve("theirs.Net")


def test_ones_own_configuration_is_asked_nothing_and_forgotten_after_the_command(package):
    config = {
        "model": {"_target_": "theirs.nets.make"},
        "loss": {"_target_": "common.model.losses.Focal"},
        "callbacks": {"x": {"_target_": "builtins.dict", "inner": [{"_target_": "theirs.Net"}]}},
    }
    with trust.scope():
        assert trust.own(config) == ["builtins.dict", "theirs.Net", "theirs.nets.make"]
        assert build(config["model"], "network") and build(config["callbacks"]["x"], "callback")
        with pytest.raises(trust.Refused):
            trust.resolve("builtins.eval")  # only what it names
    with pytest.raises(trust.Refused):
        build(config["model"], "network")


def test_a_run_folder_cannot_add_to_the_competitions(tmp_path, monkeypatch):
    """`competitions` is open to more folders, and the current folder is on the search path."""
    for name in ("evil_addition", "hccr"):
        (tmp_path / "competitions" / name).mkdir(parents=True)
        (tmp_path / "competitions" / name / "strange.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Net: ...\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trust, "_runs", set())
    trust.run_folder(tmp_path)
    for target in ("competitions.evil_addition.strange.Net", "competitions.hccr.strange.Net"):
        with pytest.raises(PodiumError):
            trust.resolve(target, "submission")
    assert not (tmp_path / "ran").exists()


def test_the_place_of_a_refused_part_is_named():
    tree = {"callbacks": {"tta": {"views": {"raw": [{"_target_": "os.system"}]}}}}
    with pytest.raises(PodiumError, match=r"^run/config.yaml: callbacks.tta.views.raw.0: os.system "):
        trust.check(tree, Path("run/config.yaml"))
    with pytest.raises(PodiumError, match="_partial_"):
        trust.check({"loss": {"_target_": "common.model.losses.Focal", "_partial_": True}}, "x")
    stage = {"stages": {"a": {"recipe": {"launcher": {"_target_": "common.model.losses.Focal"}}}}}
    with pytest.raises(PodiumError, match="a launcher"):
        trust.check(stage, "x")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"_target_": "common.deliver.submission.TopK", "n": 3}, "unexpected keyword argument 'n'"),
        ({"_target_": "common.deliver.submission.TopK", "_args_": [1, " ", True, 4]}, "too many"),
        ({}, "_target_"),
        (3, "_target_"),
        (None, "_target_"),
    ],
)
def test_what_cannot_be_built_is_told(part, said):
    with pytest.raises(PodiumError, match=said):
        build(part, "submission")


def test_values_are_handed_over_as_they_are():
    made = build(
        {"_target_": "common.deliver.submission.TopK", "separator": "${oc.env:HOME}", "_recursive_": True}
    )
    assert made.separator == "${oc.env:HOME}"
    assert os.environ["HOME"] not in made.separator


def test_folders_without_init_files_are_packages_too(tmp_path, monkeypatch):
    """Looked up before anything of them is imported, as in a process that begins with a run folder."""
    inner = tmp_path / "bare" / "inner"
    inner.mkdir(parents=True)
    (inner / "parts.py").write_text("import pytorch_lightning as pl\n\nclass Note(pl.Callback):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PODIUM_TRUST", "bare")
    monkeypatch.setattr(trust, "_runs", {tmp_path / "run"})
    assert trust.resolve("bare.inner.parts.Note", "callback").__name__ == "Note"
    monkeypatch.setattr(trust, "_runs", {tmp_path / "bare"})
    (inner / "other.py").write_text("import pytorch_lightning as pl\n\nclass Note(pl.Callback):\n    pass\n")
    with pytest.raises(trust.Refused, match="lies in the run folder"):
        trust.resolve("bare.inner.other.Note", "callback")
