"""Run folders, checkpoints and exported files of somebody else: nothing of theirs runs, and what is wrong is told.

One small run is trained and exported; each test changes a copy, and gives it to the verbs as the command line does.
"""

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper

from common import trust
from common.__main__ import main
from common.errors import PodiumError
from common.run import folder
from common.run.jobs import jobs_of
from common.serve.http import sieve
from common.train.stages import JobsFailed, run_waves
from common.train.train import train, with_data

JOB = "jobs/train_fold0"
VIEW = "{raw: {_target_: common.callbacks.tta.Raw}}"
# what would run a command, if it were called: with the marker file in place of MARKER
EVIL = [
    {"_target_": "os.system", "command": "touch MARKER"},
    {"_target_": "subprocess.run", "_args_": [["touch", "MARKER"]]},
    {"_target_": "numpy.testing.runstring", "_args_": ["open('MARKER', 'w')", {}]},
    {"_target_": "builtins.eval", "_args_": ["open('MARKER', 'w')"], "_partial_": True},
    {"_target_": "common.run.folder.os.system", "command": "touch MARKER"},
    {"_target_": "common.train.launch.commands.start", "command": ["touch", "MARKER"]},
    {"_target_": "common.build.build", "part": {"_target_": "os.system", "command": "touch MARKER"}},
    {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system", "command": "touch MARKER"}},
    {"_target_": "functools.partial", "_args_": [{"_target_": "os.system", "command": "touch MARKER"}]},
    {
        "_target_": "common.run.folder.write_text",
        "path": "MARKER",
        "text": "x",
        "_convert_": "all",
        "_recursive_": True,
    },
    {"_target_": "torch.hub.load", "_args_": ["MARKER", "x"], "source": "local"},
    {"_target_": "common.__main__.main", "arguments": ["train", "run_dir=MARKER"]},
]
PLACES = [
    "data",
    "data.copies",
    "data.picture",
    "module",
    "model",
    "model.head",
    "loss",
    "optimizer",
    "schedule",
    "views.batch.x",
    "callbacks.x",
    "callbacks.tta",
    "callbacks.tta.views.x",
    "logger.x",
    "launcher",
    "submission",
    "service",
    "model.anything.deep",
]


@pytest.fixture(scope="module")
def origin(toy_module, tmp_path_factory):
    """A run of one epoch with pictures to choose by, and its export."""
    run = tmp_path_factory.mktemp("origin") / "run"
    words = ["trainer.max_epochs=1", "data.choose=0.2", f"callbacks.tta.views={VIEW}", "launcher=joblib"]
    train(toy_module(*words, f"run_dir={run}"))
    words = ["images=4", "calibration=0", "seconds=0.01", "batch_size=2", "threads=1"]
    assert main(["export", f"run_dir={run}", *words]) == 0
    return run


@pytest.fixture
def run(origin, tmp_path):
    shutil.copytree(origin, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def model(origin, tmp_path):
    """The exported file, and a function that changes its metadata; None removes a key."""
    path = tmp_path / "model.onnx"
    whole = onnx.load(origin / "export" / "model.onnx")
    metadata = {prop.key: prop.value for prop in whole.metadata_props}

    def changed(**values):
        now = {**metadata, **{key: value for key, value in values.items() if value is not None}}
        helper.set_model_props(
            whole, {key: text for key, text in now.items() if values.get(key, "") is not None}
        )
        onnx.save(whole, path)
        return path

    return changed


@pytest.fixture
def alone(monkeypatch):
    """Whoever opens a connection fails, and so does whoever starts a process."""

    def refuse(*words, **others):
        raise AssertionError(f"tried to reach out: {words}")

    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    plain = subprocess.Popen.__init__

    def start(process, words, *others, **options):  # the service's own is known
        (plain if sieve.__file__ in words else refuse)(process, words, *others, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", start)


def command(verb: str, path: Path, root: str, out: Path) -> list[str]:
    return {
        "predict": ["predict", f"run_dir={path}", f"input={root}", f"out={out / 'labels.csv'}"],
        "evaluate": ["evaluate", f"run_dir={path}", f"input={root}", f"out={out / 'evaluation'}"],
        "evaluate own": ["evaluate", f"run_dir={path}", f"out={out / 'evaluation'}"],
        "export": ["export", f"run_dir={path}", f"out={out / 'files'}", "calibration=0", "images=2", "seconds=0.01",
                   "batch_size=2"],
        "blend": ["blend", f"run_dir={path}", f"out={out / 'blend'}"],
        "serve": ["serve", f"run_dir={path}", "port=0"],
    }[verb]  # fmt: skip


RUN_VERBS = ["predict", "evaluate", "evaluate own", "export", "blend", "serve"]


@pytest.fixture(scope="module")
def root(origin):
    return folder.load_config(origin)["data"]["root"]


def refused(verb, path, root, out, capsys, *said) -> str:
    """What a verb says of a file, which is an error, and names all of `said`."""
    capsys.readouterr()
    # a service that is up would never end
    watchdog = threading.Timer(60, os.kill, (os.getpid(), signal.SIGINT))
    watchdog.start()
    try:
        assert main(command(verb, path, root, out)) == 2
    finally:
        watchdog.cancel()
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "Traceback" not in message
    for words in said:
        assert str(words) in message, message
    return message


def put(tree, place, value):
    *above, last = place.split(".")
    for word in above:
        if not isinstance(tree.get(word), dict):
            tree[word] = {}
        tree = tree[word]
    tree[last] = value


def armed(part, marker):
    """The part, with the marker file named in it."""
    return json.loads(json.dumps(part).replace("MARKER", str(marker)))


@contextmanager
def edited(path: Path):
    value = yaml.safe_load(path.read_text())
    yield value
    path.write_text(yaml.safe_dump(value))


def test_an_honest_copy_passes_every_verb_and_reaches_nobody(run, root, tmp_path, capsys, alone):
    with edited(run / JOB / "config.yaml") as config:
        config["logger"]["wandb"] = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "theirs"}
        config["model"]["pretrained"] = "hub"
    checkpoint = torch.load(run / JOB / "best.ckpt", weights_only=True)
    for verb in ("predict", "evaluate", "evaluate own", "export", "blend"):
        assert main(command(verb, run, root, tmp_path)) == 0, capsys.readouterr().err
    assert checkpoint["hyper_parameters"]["model"]["_target_"] == "tests.toys.TinyNet"


@pytest.mark.parametrize("file", ["config.yaml", f"{JOB}/config.yaml"])
@pytest.mark.parametrize("place", PLACES)
def test_no_part_of_a_configuration_runs(file, place, run, root, tmp_path, capsys, alone):
    marker = tmp_path / "ran"
    number = PLACES.index(place)
    with edited(run / file) as config:
        put(config, place, armed(EVIL[number % len(EVIL)], marker))
    refused(
        RUN_VERBS[number % len(RUN_VERBS)],
        run,
        root,
        tmp_path,
        capsys,
        "config.yaml",
        place.partition(".")[0],
    )
    assert not marker.exists()


@pytest.mark.parametrize("evil", EVIL, ids=lambda part: part["_target_"])
@pytest.mark.parametrize("verb", ["predict", "evaluate", "export", "serve", "blend"])
def test_no_target_runs_by_any_verb(evil, verb, run, root, tmp_path, capsys, alone):
    marker = tmp_path / "ran"
    with edited(run / "config.yaml") as config:
        config["submission"] = armed(evil, marker)
    refused(verb, run, root, tmp_path, capsys, "config.yaml: submission")
    assert not marker.exists()


def rewrite(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("place", "verb"),
    [
        ("model", "predict"),
        ("loss", "evaluate"),
        ("optimizer", "export"),
        ("schedule", "serve"),
        ("preprocessing.picture", "predict"),
        ("model.head", "predict"),
    ],
)
def test_no_part_of_a_checkpoint_runs(place, verb, run, root, tmp_path, capsys, alone):
    marker = tmp_path / "ran"
    for evil in EVIL if verb == "predict" else EVIL[:2]:
        rewrite(
            run / JOB / "best.ckpt",
            lambda c, evil=evil: put(c["hyper_parameters"], place, armed(evil, marker)),
        )
        refused(verb, run, root, tmp_path, capsys, "best.ckpt", place)
        assert not marker.exists()


def test_lightnings_own_back_doors_are_shut(run, root, tmp_path, capsys, alone):
    marker, before = tmp_path / "ran", (run / JOB / "best.ckpt").read_bytes()

    def module_arguments(content):
        content["hparams"] = {"loss": armed(EVIL[0], marker)}

    def instantiator(content):
        content["hyper_parameters"]["_instantiator"] = "os.system"

    def module_gone(content):
        content["hyper_parameters"].pop("loss")
        module_arguments(content)

    for change in (instantiator, module_gone):
        (run / JOB / "best.ckpt").write_bytes(before)
        rewrite(run / JOB / "best.ckpt", change)
        refused("predict", run, root, tmp_path, capsys, "best.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize("key", ["submission", "service", "preprocessing"])
@pytest.mark.parametrize("verb", ["predict", "serve"])
def test_no_metadata_of_an_exported_file_run(key, verb, model, root, tmp_path, capsys, alone):
    marker = tmp_path / "ran"
    about = json.loads({prop.key: prop.value for prop in onnx.load(model()).metadata_props}["preprocessing"])
    for evil in EVIL:
        part = armed(evil, marker)
        value = {**about, "picture": part} if key == "preprocessing" else part
        refused(verb, model(**{key: json.dumps(value)}), root, tmp_path, capsys, "model.onnx", key)
        assert not marker.exists()


# Damage ------------------------------------------------------------------------------------------------------


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def pickled(content=None):
    return pickle.dumps(content or {"state_dict": Runs(), "hyper_parameters": {}})


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
CONFIGS = {
    "empty": b"",
    "text": b"hello",
    "malformed": b"a: [1, 2\nb: {",
    "binary": bytes(range(256)),
    "not UTF-8": b"competition: \xff\xfe",
    "list": b"- 1\n- 2\n",
    "number": b"3",
    "null": b"null",
    "deep": b"[" * 5000 + b"]" * 5000,
    "without keys": b"competition: toy\n",
    "a number for a name": b"competition: 3\ndata: {}\n",
    "bomb": BOMB.encode(),
    "endless": b"&a [*a]",
    "tag": b"!!python/object/apply:os.system ['touch ran']",
    "keys that are lists": b"? [a, b]\n: c\n",
    "duplicate merges": b"<<: 3\n",
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_damaged_configuration_is_named(kind, run, root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = ["config.yaml", f"{JOB}/config.yaml"]
    before = (run / file[1]).read_bytes()
    (run / file[1]).write_bytes(CONFIGS[kind])
    refused("predict", run, root, tmp_path, capsys, run / file[1])
    (run / file[1]).write_bytes(before)
    (run / file[0]).write_bytes(CONFIGS[kind])
    for verb in ("predict", "evaluate", "export", "serve", "blend"):
        refused(verb, run, root, tmp_path, capsys, run / file[0])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("competition", "../../elsewhere"),
        ("competition", ".."),
        ("competition", ["toy"]),
        ("data", None),
        ("data", []),
        ("data.root", 3),
        ("data.root", ["a"]),
        ("data.batch_size", "many"),
        ("data.no_such_key", 1),
        ("module", "common.model.classifier.ImageClassifier"),
        ("module._target_", 3),
        ("callbacks", [1]),
        ("callbacks.tta", "text"),
        ("callbacks.tta.views", 3),
        ("callbacks.tta.views.raw", {"_target_": "common.callbacks.tta.Moved", "scale": "x"}),
        ("callbacks.tta.views.raw", {"_target_": "common.callbacks.tta.Moved", "nothing": 1}),
        ("callbacks.x", {"_target_": "common.callbacks.freeze.Freeze", "nothing": 1}),
        ("trainer", None),
        ("trainer.accelerator", ["cpu"]),
        ("submission", None),
        ("submission", {}),
        ("submission.k", "x"),
        ("submission.separator", 5),
        ("submission.k", 0),
        ("service", [1]),
        ("service", {"nothing": 1}),
        ("page", {"nothing": 1}),
        ("page", {"brush": "wide"}),
        ("best", []),
        ("stages", {"a": 3}),
        ("stages", {"a": {"folds": 10**12}}),
        ("seed", "x"),
    ],
)
def test_a_configuration_of_another_shape_is_named(place, value, run, root, tmp_path, capsys):
    for file in ("config.yaml", f"{JOB}/config.yaml"):
        with edited(run / file) as config:
            put(config, place, value)
    refused("predict", run, root, tmp_path, capsys, "config.yaml", place.partition(".")[0])


def cut(data):
    return data[: len(data) // 2]


CHECKPOINTS = {
    "empty": lambda data: b"",
    "text": lambda data: b"hello",
    "cut": cut,
    "pickled": lambda data: pickled(),
    "a list": lambda data: pickled([1, 2]),
    "a zip": lambda data: b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_damaged_checkpoint_is_named(kind, run, root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = run / JOB / "best.ckpt"
    path.write_bytes(CHECKPOINTS[kind](path.read_bytes()))
    for verb in ("predict", "evaluate own", "export", "serve", "blend"):
        refused(verb, run, root, tmp_path, capsys, path)
    assert main(["blend", f"run_dir={run}", f"out={tmp_path / 'soup'}", "soup=uniform"]) == 2
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


HYPER = [
    ("hyper_parameters", 3),
    ("hyper_parameters", {}),
    ("state_dict", [1]),
    ("state_dict", {}),
    ("state_dict", {"net.0.weight": torch.zeros(1)}),
    ("state_dict", {"net.0.weight": "text"}),
    ("hyper_parameters.class_names", []),
    ("hyper_parameters.class_names", "bar"),
    ("hyper_parameters.class_names", ["bar"]),
    ("hyper_parameters.class_names", [1, 2, 3, 4]),
    ("hyper_parameters.class_names", ["a", "b", "c", "\ud800"]),
    ("hyper_parameters.preprocessing", None),
    ("hyper_parameters.preprocessing", {}),
    ("hyper_parameters.preprocessing.size", [10**9, 10**9]),
    ("hyper_parameters.preprocessing.size", [0, 16]),
    ("hyper_parameters.preprocessing.size", [16]),
    ("hyper_parameters.preprocessing.size", ["16", "16"]),
    ("hyper_parameters.preprocessing.channels", 7),
    ("hyper_parameters.preprocessing.channels", 3),
    ("hyper_parameters.preprocessing.pad_value", "black"),
    ("hyper_parameters.preprocessing.pad_value", 1000),
    ("hyper_parameters.preprocessing.fit", "squeeze"),
    ("hyper_parameters.preprocessing.picture", {"nothing": 1}),
    ("hyper_parameters.model", {}),
    ("hyper_parameters.model.width", 10**9),
    ("hyper_parameters.model.width", "wide"),
    ("hyper_parameters.model.no_such_key", 1),
    ("hyper_parameters.mean", [0.5, 0.5]),
    ("hyper_parameters.mean", "grey"),
    ("hyper_parameters.mean", [float("nan")]),
    ("hyper_parameters.std", [0.0]),
    ("hyper_parameters.std", [0.5, 0.5, 0.5]),
    ("hyper_parameters._instantiator", "os.system"),
    ("hyper_parameters.no_such_key", 1),
    ("hyper_parameters.std", []),
    ("hyper_parameters.levels", {"group": [0]}),
    ("hyper_parameters.levels", {"group": [0, 1, 2, 99_999_999_999]}),
    ("hyper_parameters.levels", {"group": ["a", "b", "c", "d"]}),
    ("hyper_parameters.seed", "x"),
]


@pytest.mark.parametrize(("place", "value"), HYPER)
def test_a_checkpoint_that_does_not_fit_is_named(place, value, run, root, tmp_path, capsys):
    rewrite(run / JOB / "best.ckpt", lambda content: put(content, place, value))
    refused("predict", run, root, tmp_path, capsys, "best.ckpt")


TABLES = {
    "empty": b"",
    "text": b"hello",
    "binary": bytes(range(256)),
    "words for numbers": b"id,path,label,class,part,fold,group,source,train_only\na,b,x,y,valid,z,g,s,False\n",
    "other columns": b"a,b\n1,2\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_table_of_folds_is_named(kind, run, root, tmp_path, capsys):
    (run / "folds.csv").write_bytes(TABLES[kind])
    for verb in ("evaluate", "evaluate own", "export", "blend"):
        refused(verb, run, root, tmp_path, capsys, run / "folds.csv")


JSONS = {"empty": b"", "text": b"hello", "list": b"[1]", "number": b"3", "binary": bytes(range(256)), "other": b"{}",
         "deep": b"[" * 100_000}  # fmt: skip


@pytest.mark.parametrize("kind", JSONS)
@pytest.mark.parametrize(
    ("file", "verbs"),
    [
        (f"{JOB}/speed.json", ("predict", "evaluate", "export", "serve")),
        ("members.json", ("predict", "evaluate", "export", "serve")),
        (f"{JOB}/scores.json", ("blend",)),
        ("blend.json", ("blend",)),
    ],
)
def test_a_damaged_note_is_named(kind, file, verbs, run, root, tmp_path, capsys):
    (run / file).write_bytes(JSONS[kind])
    for verb in verbs:
        refused(verb, run, root, tmp_path, capsys, run / file)


@pytest.mark.parametrize(
    ("file", "value"),
    [
        (f"{JOB}/speed.json", {"precision": "32-true", "memory_format": "sparse"}),
        (f"{JOB}/speed.json", {"precision": "32-true", "memory_format": ["contiguous"]}),
        ("members.json", {"mean": ["arithmetic"], "members": []}),
        ("members.json", {"mean": "arithmetic", "members": [{"job": 3, "checkpoint": "best.ckpt"}]}),
        (
            "members.json",
            {"mean": "arithmetic", "members": [{"job": "jobs/gone", "checkpoint": "best.ckpt"}]},
        ),
        ("members.json", {"mean": "arithmetic", "members": [{"job": "a\0b", "checkpoint": "best.ckpt"}]}),
        ("members.json", {"mean": "arithmetic", "members": [JOB]}),
    ],
)
def test_a_note_of_another_shape_is_named(file, value, run, root, tmp_path, capsys):
    (run / file).write_text(json.dumps(value))
    refused("predict", run, root, tmp_path, capsys, "members.json" if "members" in file else file)


@pytest.mark.parametrize("kind", ["empty", "text", "cut"])
def test_damaged_predictions_are_named(kind, run, root, tmp_path, capsys):
    path = run / JOB / "predictions_choose.parquet"
    path.write_bytes({"empty": b"", "text": b"hello", "cut": cut(path.read_bytes())}[kind])
    refused("blend", run, root, tmp_path, capsys, path)


def test_a_run_that_says_done_and_has_nothing_is_named(run, root, tmp_path, capsys):
    shutil.rmtree(run / "jobs")
    for verb in ("predict", "evaluate", "export", "serve", "blend"):
        refused(verb, run, root, tmp_path, capsys, run)


ABOUT = [
    ("version", "no JSON"),
    ("version", "[1]"),
    ("competition", "3"),
    ("competition", "{"),
    ("class_names", "3"),
    ("class_names", '"bar"'),
    ("class_names", "[]"),
    ("class_names", '["bar"]'),
    ("class_names", "[1, 2, 3, 4]"),
    ("class_names", r'["a", "b", "c", "\ud800"]'),
    ("how", r'"\ud800"'),
    ("preprocessing", "[]"),
    ("preprocessing", "{}"),
    ("preprocessing.size", [10**9, 10**9]),
    ("preprocessing.size", [0, 16]),
    ("preprocessing.size", [16, 32]),
    ("preprocessing.size", "16x16"),
    ("preprocessing.channels", 7),
    ("preprocessing.channels", 3),
    ("preprocessing.pad_value", "text"),
    ("preprocessing.pad_value", -1),
    ("preprocessing.fit", None),
    ("preprocessing.interpolation", "magic"),
    ("preprocessing.picture", 3),
    ("submission", "null"),
    ("submission", '"x"'),
    ("submission", '{"_target_": "common.deliver.submission.TopK", "k": "x"}'),
    ("submission", '{"_target_": "common.deliver.submission.TopK", "q": 1}'),
    ("service", "3"),
    ("service", '{"a": 1}'),
    ("page", "[]"),
    ("page", '{"draw": 3}'),
    ("page", '{"brush": 7}'),
    ("page", '{"other": 1}'),
    ("sample", '"yes"'),
    ("how", "null"),
    ("run", "[" * 100_000),
    ("run", None),
]


@pytest.mark.parametrize(("key", "value"), ABOUT)
def test_metadata_that_do_not_fit_are_named(key, value, model, root, tmp_path, capsys):
    if "." in key:
        whole = {prop.key: json.loads(prop.value) for prop in onnx.load(model()).metadata_props}
        put(whole, key, value)
        key = key.partition(".")[0]
        value = json.dumps(whole[key])
    path = model(**{key: value})
    for verb in ("predict", "serve"):
        refused(verb, path, root, tmp_path, capsys, path)


NO_PICTURES = [
    {"_target_": "common.callbacks.tta.Mirrored"},
    {"_target_": "common.callbacks.tta.Pyramid", "scales": [1e9]},
    {"_target_": "common.callbacks.tta.RandomCrops", "count": 10**9},
    {"_target_": "common.model.networks.frozen_features.FromFeatures"},
    {"_target_": "competitions.garbage.pictures.StretchedCentre", "size": 100_000},
    {"_target_": "tests.toys.Fails"},
]


@pytest.mark.parametrize("part", NO_PICTURES, ids=lambda part: part["_target_"])
def test_what_makes_no_picture_is_refused_when_the_file_is_loaded(part, model, run, root, tmp_path, capsys):
    whole = json.loads({prop.key: prop.value for prop in onnx.load(model()).metadata_props}["preprocessing"])
    path = model(preprocessing=json.dumps({**whole, "picture": part}))
    for verb in ("predict", "serve"):
        refused(verb, path, root, tmp_path, capsys, path, "picture")
    rewrite(run / JOB / "best.ckpt", lambda c: put(c, "hyper_parameters.preprocessing.picture", part))
    refused("predict", run, root, tmp_path, capsys, "best.ckpt", "picture")


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "pickled"])
def test_a_damaged_exported_file_is_named(kind, model, root, tmp_path, capsys):
    path = model()
    path.write_bytes(
        {"empty": b"", "text": b"x" * 99, "cut": cut(path.read_bytes()), "pickled": pickled()}[kind]
    )
    for verb in ("predict", "serve"):
        refused(verb, path, root, tmp_path, capsys, path)


@pytest.mark.parametrize(
    "location", ["../outside.bin", "absolute", "link.bin", "links/outside.bin", "/dev/zero"]
)
def test_weights_outside_an_exported_files_folder_are_refused(location, model, root, tmp_path, capsys):
    home = tmp_path / "home"
    home.mkdir()
    path = home / "model.onnx"
    whole = onnx.load(model())
    weights = max(whole.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    outside = tmp_path / "outside.bin"
    outside.write_bytes(weights.raw_data)
    (home / "link.bin").symlink_to(outside)
    (home / "links").symlink_to(tmp_path)
    (home / "inside.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL

    def at(place):
        del weights.external_data[:]
        weights.external_data.add(key="location", value=place)
        path.write_bytes(whole.SerializeToString())
        return path

    refused("predict", at(str(outside) if location == "absolute" else location), root, tmp_path, capsys, path)
    assert main(command("predict", at("inside.bin"), root, tmp_path)) == 0


def test_a_program_is_code_and_is_refused_until_it_is_trusted(origin, root, tmp_path, capsys, monkeypatch):
    path = origin / "export" / "model.pt2"
    refused("serve", path, root, tmp_path, capsys, path, path.with_suffix(".onnx"), f"trust={path}")
    refused("predict", path, root, tmp_path, capsys, "model.onnx")
    refused("evaluate", path, root, tmp_path, capsys, path)


# One's own packages ------------------------------------------------------------------------------------------


def test_a_strangers_package_runs_only_where_it_is_trusted(origin, root, tmp_path, capsys, monkeypatch):
    """The tests' own package is trusted by the tests alone: without that a run of toys is a stranger's."""
    monkeypatch.delenv("PODIUM_TRUST")
    message = refused(
        "predict", origin, root, tmp_path, capsys, "tests.toys.TinyNet", "trust=tests", "conf/trust.yaml"
    )
    assert "model" in message
    assert main([*command("predict", origin, root, tmp_path), "trust=tests"]) == 0
    refused("predict", origin, root, tmp_path, capsys, "tests.toys.TinyNet")  # for one call
    assert main([*command("evaluate", origin, root, tmp_path), "trust=[numpy,tests]"]) == 0
    assert main([*command("blend", origin, root, tmp_path), "trust=tests"]) == 0


def test_a_job_is_trusted_by_its_command_line_and_not_by_its_folder(origin, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(origin, run, ignore=shutil.ignore_patterns("done", "*.ckpt", "lock"))
    monkeypatch.delenv("PODIUM_TRUST")
    assert main(["job", str(run / JOB)]) == 2
    assert "tests.toys.TinyNet" in capsys.readouterr().err
    assert main(["job", str(run / JOB), "trust=tests.toys.TinyNet"]) == 0


def test_a_run_tells_its_jobs_what_its_owner_named(toy_module, tmp_path, monkeypatch):
    """By their command line: a folder could say anything."""
    monkeypatch.delenv("PODIUM_TRUST")
    seen = []

    def launcher(commands, *others):
        seen.extend(commands)
        return [None] * len(commands)

    config = with_data(toy_module("stages.train.folds=2"))
    waves = jobs_of(config)
    with trust.scope(), pytest.raises(JobsFailed):
        trust.own(config)
        run_waves(tmp_path / "run", waves, launcher, stop_on_failure=False)
    assert len(seen) == 2 and all(command[-1] == "trust=tests.toys.TinyNet" for command in seen)


# Training that reads what others left ------------------------------------------------------------------------


@pytest.fixture
def own(toy_module):
    """A function that trains by one's own configuration."""

    def trained(out, *words):
        config = toy_module("trainer.max_epochs=1", "data.choose=0.2", f"callbacks.tta.views={VIEW}",
                            "launcher=joblib", f"run_dir={out}", *words)  # fmt: skip
        return train(config)

    return trained


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_damaged_checkpoint_is_named_by_training_too(kind, run, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("done", f"{JOB}/done", f"{JOB}/best.ckpt", f"{JOB}/scores.json"):
        (run / name).unlink()
    last, whole = run / JOB / "last.ckpt", (run / JOB / "last.ckpt").read_bytes()
    last.write_bytes(CHECKPOINTS[kind](whole))
    with pytest.raises(PodiumError, match=r"last\.ckpt"):
        own(run)
    start = tmp_path / "start.ckpt"
    start.write_bytes(last.read_bytes())
    for words in ([f"stages.train.init_from={start}"], [f"weights_from={theirs(run, last)}"]):
        with pytest.raises(PodiumError, match=r"start\.ckpt|best\.ckpt"):
            own(tmp_path / f"new_{words[0].partition('=')[0]}", *words)
    assert not (tmp_path / "ran").exists()


def theirs(run, last):
    shutil.copy(last, run / JOB / "best.ckpt")
    (run / JOB / "done").touch()
    return run


def test_a_received_checkpoint_names_no_code_in_training_either(run, own, tmp_path, alone):
    marker = tmp_path / "ran"
    rewrite(run / JOB / "best.ckpt", lambda c: put(c["hyper_parameters"], "loss", armed(EVIL[0], marker)))
    with pytest.raises(PodiumError, match=r"best\.ckpt: loss"):
        own(tmp_path / "new", f"weights_from={run}")
    assert not marker.exists()


@pytest.mark.parametrize("file", ["config.yaml", "folds.csv", f"{JOB}/speed.json"])
def test_a_damaged_folder_is_named_when_training_goes_on(file, run, own):
    for name in ("done", f"{JOB}/done"):
        (run / name).unlink()
    for content in (b"", b"hello", bytes(range(256)), b"[1]"):
        (run / file).write_bytes(content)
        with pytest.raises(PodiumError, match=Path(file).name.replace(".", r"\.")):
            own(run)


def test_a_damaged_table_of_a_teacher_is_named(own, tmp_path):
    (tmp_path / "teacher.parquet").write_bytes(b"hello")
    with pytest.raises(PodiumError, match=r"teacher\.parquet"):
        own(
            tmp_path / "new",
            f"stages.train.soft_labels_from={tmp_path / 'teacher.parquet'}",
            "callbacks.soft_labels={}",
        )


def test_python_itself_is_not_asked_for_code_of_the_folder(run, root, tmp_path, capsys, monkeypatch):
    """In the run folder, which is then on the search path, a package of its own stays unread."""
    (run / "competitions").mkdir()
    (run / "competitions" / "stranger.py").write_text("open('ran', 'w')\nclass Net: ...\n")
    monkeypatch.chdir(run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with edited(run / "config.yaml") as config:
        config["submission"] = {"_target_": "competitions.stranger.Net"}
    refused("predict", Path("."), root, tmp_path, capsys, "submission", "competitions.stranger")
    assert not (run / "ran").exists()
