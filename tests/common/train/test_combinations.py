"""Options of the trainer that meet: each pair does what it says, or is refused with the key and what to do."""

import pandas as pd
import pytest
import torch

from common.errors import PodiumError
from common.train.train import train

without_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")


@pytest.fixture(scope="module")
def trained(toy_module, tmp_path_factory):
    """A function from words to the job's folder, each training once."""
    known: dict[tuple[str, ...], object] = {}

    def job(*words: str):
        if words not in known:
            run = tmp_path_factory.mktemp("run") / "run"
            train(toy_module("trainer.max_epochs=2", *words, f"run_dir={run}"))
            known[words] = run / "jobs" / "train_fold0"
        return known[words]

    return job


def history(job) -> pd.DataFrame:
    return pd.read_csv(job / "history.csv")


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=7"],
        ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=100"],
        ["trainer.check_val_every_n_epoch=3"],
        ["trainer.val_check_interval=3"],
        ["trainer.val_check_interval=0.6"],
        ["trainer.check_val_every_n_epoch=5", "trainer.max_epochs=null", "trainer.max_steps=8"],
    ],
    ids=str,
)
def test_the_last_weights_are_validated_whatever_the_interval(trained, words):
    """Four batches an epoch: the same training, and the same figure at its end, as with a validation every epoch."""
    plain, job = trained(), trained(*words)
    (a, b) = (torch.load(one / "last.ckpt", weights_only=True)["state_dict"] for one in (plain, job))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert history(job)["valid_loss"].iloc[-1] == history(plain)["valid_loss"].iloc[-1]


def test_across_epochs_validation_comes_every_so_many_batches(trained):
    job = trained(
        "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=6", "trainer.max_epochs=3"
    )
    lines = [line for line in (job / "log.txt").read_text().splitlines() if "  epoch " in line]
    assert len(lines) == 2  # after batches 6 and 12
    assert history(job)["valid_loss"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize("how", ["norm", "value"])
@pytest.mark.parametrize("optimizer", ["adam_gc", "sgd_gc"])
def test_fused_optimizers_are_clipped_as_others_are(trained, how, optimizer):
    words = [f"optimizer={optimizer}", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.01"]
    words.append(f"trainer.gradient_clip_algorithm={how}")
    fused, plain = trained(*words), trained(*words, "optimizer.fused=false")
    (a, b) = (torch.load(one / "last.ckpt", weights_only=True)["state_dict"] for one in (fused, plain))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)


def test_in_64_bits_the_average_of_weights_has_64_too(trained):
    """An average that forgets all but the newest weights is these, to the last bit."""
    job = trained("callbacks.weight_averaging={decay: 0}", "trainer.precision=64-true")
    checkpoint = torch.load(job / "last.ckpt", weights_only=True)
    averages, weights = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert {value.dtype for value in averages.values()} == {torch.float64, torch.int64}
    assert all(torch.equal(averages[name], weights[name]) for name in averages)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.precision=bf16-true"], r"trainer\.precision=bf16-true .* bf16-mixed"),
        (["trainer.precision=16-true"], r"trainer\.precision=16-true .* 16-mixed"),
        (
            ["trainer.check_val_every_n_epoch=null"],
            r"check_val_every_n_epoch=null.* trainer\.val_check_interval",
        ),
        (
            ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=0.5"],
            r"check_val_every_n_epoch=null.* trainer\.val_check_interval",
        ),
        (
            ["trainer.val_check_interval=5"],
            r"val_check_interval=5 .* epoch of 4 .*check_val_every_n_epoch=null",
        ),
        (
            ["trainer.limit_train_batches=2", "trainer.val_check_interval=3"],
            r"val_check_interval=3 .* epoch of 2 .*check_val_every_n_epoch=null",
        ),
        (
            ["trainer.limit_train_batches=0.8", "trainer.val_check_interval=4"],
            r"val_check_interval=4 .* epoch of 3 .*check_val_every_n_epoch=null",
        ),
        (["trainer.precision=16-mixed"], r"trainer\.precision=16-mixed .*bf16-mixed"),
        pytest.param(
            ["trainer.precision=16-mixed", "trainer.accelerator=auto"],
            r"trainer\.precision=16-mixed .*bf16-mixed",
            marks=without_gpu,
        ),
        (
            ["trainer.limit_val_batches=0", "callbacks.early_stopping={}"],
            r"early_stopping\.monitor: .*limit_val_batches=0",
        ),
        (["trainer.limit_train_batches=0.1"], "limit_train_batches"),
        pytest.param(
            ["trainer.accelerator=gpu"], r"trainer\.accelerator=gpu.* trainer=auto", marks=without_gpu
        ),
        (["trainer.strategy=fsdp"], r"trainer\.strategy=fsdp.* trainer=auto"),
        (["trainer.strategy=nonsense"], r"trainer\.strategy=nonsense.* trainer=auto"),
        (["trainer.strategy=ddp_spawn", "trainer.devices=2"], r"trainer\.strategy=ddp_spawn .*ddp "),
        (["optimizer=adam_gc", "+optimizer.foreach=true"], "optimizer: Adam .*fused.*foreach"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_key_and_remedy(toy, tmp_path, words, said):
    with pytest.raises(PodiumError, match=said):
        train(toy(*words, f"run_dir={tmp_path / 'run'}"))
    assert not list((tmp_path / "run").rglob("*.ckpt"))
