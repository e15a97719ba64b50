"""Each mistake ends in one message: the key, where it stands, what it may be, the nearest right name."""

# ruff: noqa: E501  (tables of words and messages)

import pytest

from common.config.configure import configure
from common.errors import PodiumError
from tests.common.config.sample_conf import Conf


@pytest.fixture
def mistakes(conf: Conf) -> Conf:
    conf.write("experiment/typo", "trainer: {max_epoch: 3}")
    conf.write("experiment/deep", "{defaults: [typo], seed: 1}")
    conf.write("experiment/kind", "trainer: {max_epochs: many}")
    conf.write("experiment/range", "trainer: {max_time: 3 hours}")
    conf.write("experiment/broken", "trainer: {max_epochs: 3\nseed: 1")
    conf.write("experiment/list", "- a\n- b")
    conf.write("experiment/twice", "seed: 1\nseed: 2")
    conf.write("experiment/part", "loss: focal")
    conf.write("experiment/choice", "defaults: [override /loss: focl]")
    conf.write("experiment/group", "defaults: [override /los: focal]")
    conf.write("experiment/default", "defaults: [/loss: focal]")
    conf.write("experiment/nodefault", "defaults: [bsae]")
    conf.write("experiment/name", "callbacks: {ohme: {keep: 0.5}}")
    conf.write("loss/broken", "gamma: [1, 2")
    conf.write("loss/child", "{defaults: [focl, _self_], gamma: 1}")
    return conf


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # what there is to choose from
        ("competition=bursh", "command line: there is no competition=bursh (did you mean brush?); available: "),
        ("experiment=tipo", "command line: there is no experiment=tipo (did you mean typo?); available: aliproducts_baseline, "),
        ("experiment=[typo,nope]", "command line: there is no experiment=nope; available: "),
        ("loss=focl", "command line: there is no loss=focl (did you mean focal?); available: "),
        ("loss=3", "command line: there is no loss=3; available: "),
        ("trainer=null", "command line: there is no trainer=null; available: auto, cpu, "),
        ("experiment=choice", "conf/experiment/choice.yaml: there is no loss=focl (did you mean focal?)"),
        ("experiment=group", "conf/experiment/group.yaml: there is no group los (did you mean loss?); groups: model, "),
        ("experiment=part", "conf/experiment/part.yaml: to choose an option of loss write defaults: [override /loss: focal]"),
        ("experiment=default", "conf/experiment/default.yaml: defaults may hold names of files beside it, "),
        ("experiment=nodefault", "conf/experiment/nodefault.yaml: there is no experiment=bsae; available: "),
        # keys
        ("trainer.max_epoch=3", "command line: there is no key trainer.max_epoch; did you mean trainer.max_epochs?"),
        ("max_epochs=3", "command line: there is no key max_epochs; did you mean trainer.max_epochs?"),
        ("trainer.zzzz=3", "command line: there is no key trainer.zzzz; trainer has accelerator, accumulate_grad_"),
        ("max_epoch=3", "command line: there is no key max_epoch; did you mean trainer.max_epochs?"),
        ("los=focal", "command line: there is no key los; did you mean loss?"),
        ("zzzzz=1", "command line: there is no key zzzzz; the configuration has best, callbacks, "),
        ("views.bath.mixup={}", "command line: there is no key views.bath; did you mean views.batch?"),
        ("experiment=typo", "conf/experiment/typo.yaml: there is no key trainer.max_epoch; did you mean trainer.max_epochs?"),
        ("experiment=deep", "conf/experiment/typo.yaml: there is no key trainer.max_epoch; did you mean trainer.max_epochs?"),
        ("callbacks.ohme.keep=0.5", "command line: there is no callbacks.ohme (did you mean ohem?); callbacks has "),
        ("experiment=name", "conf/experiment/name.yaml: there is no callbacks.ohme (did you mean ohem?); callbacks has "),
        ("callbacks=ohem", 'callbacks holds named components: callbacks.<name>={} switches one on, callbacks.<name>=null off; got "ohem"'),
        ("~data.sise", "~data.sise: there is no such key (did you mean size?)"),
        ("views.image.3.p=1", "views.image.3: views.image is a list of 0 items, numbered from 0"),
        # types and ranges
        ("seed=abc", 'command line: seed must be an int, got "abc"'),
        ("seed=", 'command line: seed must be an int, got ""'),
        ("seed=-1", "command line: seed must be at least 0, got -1"),
        ("trainer.max_epochs=2.5", "command line: trainer.max_epochs must be an int or null, got 2.5"),
        ("trainer.max_epochs=[1]", "command line: trainer.max_epochs must be an int or null, got [1]"),
        ("trainer=3.5", "command line: there is no trainer=3.5; available: "),
        ("data=3", "command line: data must be a dictionary, got 3"),
        ("views.image=x", 'command line: views.image must be a list, got "x"'),
        ("experiment=kind", 'conf/experiment/kind.yaml: trainer.max_epochs must be an int or null, got "many"'),
        ("experiment=range", "conf/experiment/range.yaml: trainer.max_time must be days:hours:minutes:seconds such as"),
        ("trainer.accelerator=cpuu", 'command line: trainer.accelerator must be one of auto, cpu, gpu, cuda, mps, tpu; got "cpuu" (did you mean cpu?)'),
        ("best.valid_top1=mx", 'command line: best.valid_top1 must be one of max, min; got "mx" (did you mean max?)'),
        ("callbacks.ohem=3", "command line: callbacks.ohem must be null or a component with _target_, got 3"),
        ("data.root=???", "no value for data.root: give data.root=… or set it in a configuration file"),
        ("run_dir=${nope}", "command line: run_dir is taken from nope, which is not there: choose components that belong together, or give run_dir itself"),
        ("seed=${oc.env:PODIUM_NO_SUCH_VARIABLE}", "command line: seed: "),
        # files that are no YAML
        ("experiment=broken", "conf/experiment/broken.yaml line 2, column 5: expected ',' or '}', but got ':'"),
        ("experiment=list", "conf/experiment/list.yaml: expected keys and values, got a list"),
        ("experiment=twice", "conf/experiment/twice.yaml line 2, column 1: found duplicate key seed"),
        ("loss=broken", "conf/loss/broken.yaml line 1, column 13: expected ',' or ']', but got '<stream end>'"),
        ("loss=child", "conf/loss/child.yaml: Could not load 'loss/focl'"),
        ("best.valid_top1=maxx", 'command line: best.valid_top1 must be one of max, min; got "maxx" (did you mean max?)'),
        # words
        ("seed", '"seed" is not of the form key=value'),
        ("a b", '"a b" is not of the form key=value'),
        ("=3", '"=3": "" is not a key; keys look like trainer.max_epochs'),
        ("a b=3", '"a b=3": "a b" is not a key; keys look like trainer.max_epochs'),
        (
            "seed=[1",
            "cannot read seed=[1 (no viable alternative at input '[1'); "
            "if it holds spaces, quote it whole: ARGS=\"'seed=[…]'\"",
        ),
        ("loss={a:", "cannot read loss={a: ("),
        ("-m", "-m starts several runs and goes with train alone"),
        ("data.root=/数据, 2", "cannot read data.root=/数据, 2 ("),
        ("seed=0,1", "seed=0,1 gives several values, as for a sweep. One with a comma: \"seed='…'\"; a list: [a,b]"),
        ("data.root=/a,b", "data.root=/a,b gives several values, as for a sweep. One with a comma: \"data.root='…'\""),
    ],
)  # fmt: skip
def test_a_mistake_is_named(mistakes: Conf, words: str, message: str) -> None:
    with pytest.raises(PodiumError) as caught:
        mistakes.compose(words)
    text = str(caught.value)
    assert text.startswith(message)
    assert "\n" not in text and "HYDRA_FULL_ERROR" not in text
    assert caught.value.__cause__ is None  # a traceback, if asked for, shows no insides of Hydra
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "trainer/auto",
            "accelrator: cpu",
            "there is no key trainer.accelrator; did you mean trainer.accelerator?",
        ),
        ("trainer/auto", "num_nodes: many", 'trainer.num_nodes must be an int, got "many"'),
        ("views/none", "images: []", "there is no key views.images; did you mean views.image?"),
        ("train", "{defaults: [schema, _self_], seeed: 1}", "there is no key seeed; did you mean seed?"),
        ("train", "{defaults: [schema, loss: focl, _self_]}", "there is no loss=focl (did you mean focal?)"),
    ],
)
def test_a_mistake_in_the_files_that_hydra_composes_is_named(
    conf: Conf, file: str, text: str, message: str
) -> None:
    conf.write(file, text)
    with pytest.raises(PodiumError) as caught:
        conf.compose()
    assert message in str(caught.value)
    assert str(caught.value).startswith((f"conf/{file}.yaml: ", "command line: "))


def test_without_a_competition_the_message_lists_them(conf: Conf) -> None:
    with pytest.raises(
        PodiumError,
        match=r"which competition\? Give COMP=<name> \(without make: competition=<name>\); available: .*brush.*shop",
    ):
        configure(["--config-dir", str(conf.folder), "seed=1"])


def test_a_configuration_folder_that_is_none_is_named(conf: Conf) -> None:
    with pytest.raises(PodiumError, match="--config-dir: nowhere is not a folder"):
        configure(["--config-dir=nowhere"])
    with pytest.raises(PodiumError, match="--config-dir needs a folder after it"):
        configure(["seed=1", "--config-dir"])


@pytest.mark.parametrize(
    ("word", "full"),
    [
        ("lr=0.1", "optimizer.lr"),
        ("weight_decay=0.1", "optimizer.weight_decay"),
        ("batch_size=8", "data.batch_size"),
        ("batchsize=8", "data.batch_size"),
        ("epochs=3", "trainer.max_epochs"),
        ("max_epochs=3", "trainer.max_epochs"),
        ("threads=2", "trainer.threads"),
        ("trainer.lr=0.1", "optimizer.lr"),
        ("workers=2", "data.workers"),
        ("smoothing=0.1", "loss.smoothing"),
        ("interpolation=bicubic", "data.interpolation"),
    ],
)
def test_the_last_part_of_a_key_is_enough_to_find_it(word: str, full: str):
    with pytest.raises(PodiumError) as error:
        configure(["competition=calligraphy", word])
    said = str(error.value)
    assert f"there is no key {word.split('=')[0]}" in said
    assert full in said.partition("did you mean")[2].replace("?", "").split()
