"""What is wrong in a configuration is said before any picture is read, with its key."""

import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from common import trust
from common.config.compose import compose
from common.data.folder import FolderData
from common.errors import PodiumError
from common.run.components import make_data
from common.run.jobs import jobs_of
from common.train.rehearsal import rehearse
from common.train.train import train

ROOT = Path(__file__).parents[3]


@pytest.fixture
def unread(monkeypatch):
    """Where anybody looks for pictures, the test fails."""

    def read(self):
        raise AssertionError("pictures are looked for before the configuration is known to be right")

    monkeypatch.setattr(FolderData, "records", read)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("optimizer.lr=-1", r"optimizer\.lr"),
        ("optimizer.lr=nan", r"optimizer\.lr"),
        ("optimizer.lr=inf", r"optimizer\.lr"),
        ("optimizer.weight_decay=nan", r"optimizer\.weight_decay"),
        ("optimizer.backbone_lr_scale=-1", r"optimizer\.backbone_lr_scale"),
        ("optimizer.betas=[3,0.9]", "optimizer"),
        ("schedule.warmup=nan", r"schedule\.warmup"),
        ("loss.smoothing=2", r"loss\.smoothing"),
        ("model=timm model.name=resnett18", r"model\.name.*resnet18"),
        ("model=timm model.name=resnet18 model.dropout=7", r"model\.dropout"),
        ("model=timm model.name=resnet18 model.pretrained=/none.pt", r"model\.pretrained"),
        ("model=timm model.name=vit_tiny_patch16_224 data.size=[30,30]", "multiples"),
        ("module.mean=[0.1,0.2,0.3]", r"module\.mean"),
        ("module.std=[0]", r"module\.std"),
        ("data.pad_value=999", r"data\.pad_value"),
        ("data.size=[100000,100000]", r"data\.size"),
        ("data.workers=50000", r"data\.workers"),
        ("data.split=/none.csv", r"data\.split"),
        ("best.valid_topp1=max", r"best\.valid_topp1.*valid_top1"),
        ("callbacks.early_stopping.monitor=valid_los", r"monitor.*valid_loss"),
        ("trainer.threads=10000", r"trainer\.threads"),
        ("trainer.accelerator=tpu", r"trainer\.accelerator"),
    ],
)
def test_a_value_that_cannot_work_is_refused_before_pictures_are_read(toy, tmp_path, unread, words, said):
    with pytest.raises(PodiumError, match=said):
        train(toy(*words.split(), f"run_dir={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()


def test_the_stages_after_the_first_are_looked_at_too(toy, tmp_path, unread):
    words = (
        "stages.a.folds=2",
        "stages.b.init_from=a",
        "stages.b.folds=2",
        "stages.b.recipe.optimizer.lr=-1",
    )
    with pytest.raises(PodiumError, match=r"optimizer\.lr"):
        train(toy(*words, f"run_dir={tmp_path / 'run'}"))


def test_threads_that_are_said_to_be_none_or_fewer_are_refused(toy):
    for threads in (0, -3):
        with pytest.raises(PodiumError, match=r"trainer\.threads must be at least 1"):
            toy(f"trainer.threads={threads}")


def test_a_competition_without_data_and_sample_says_how_to_name_them_and_draws_nothing(toy, capsys):
    with pytest.raises(PodiumError, match=r"make train COMP=toy DATA="):
        train(toy("data.root=null"))
    assert "drawing" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [
    *(f"competition={path.stem}" for path in (ROOT / "conf" / "competition").glob("*.yaml")),
    *(f"competition=calligraphy optimizer={path.stem}" for path in (ROOT / "conf" / "optimizer").glob("*.yaml")),
    "competition=calligraphy model=timm_cosine model.name=resnet18 loss=arcface",
    "competition=aliproducts model=timm_levels callbacks.hierarchical_loss={}",
    "competition=aliproducts best={valid_level1_top1: max}",
    "competition=calligraphy experiment=self_distillation",
])  # fmt: skip
def test_none_of_our_recipes_is_refused(tmp_path, words):
    config = OmegaConf.to_container(compose(shlex.split(words.replace(": ", ":"))), resolve=True)
    config["data"]["root"] = str(tmp_path)
    trust.own(config)
    for first, *_ in jobs_of(config):
        rehearse(first.config, make_data(first.config, tmp_path), tmp_path / "jobs" / first.name)
