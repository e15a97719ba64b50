"""A small run that predicts with two views."""

import pytest

VIEWS = "{raw: {_target_: common.callbacks.tta.Raw}, mirrored: {_target_: common.callbacks.tta.Mirrored}}"


@pytest.fixture(scope="package")
def toys(tmp_path_factory):
    from tests.conftest import toy_composer

    return toy_composer(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="package")
def run(toys, tmp_path_factory):
    from common.train.train import train

    run = tmp_path_factory.mktemp("predict") / "run"
    train(toys("trainer.max_epochs=6", "optimizer.lr=0.01", f"run_dir={run}", f"callbacks.tta.views={VIEWS}"))
    return run


@pytest.fixture(scope="package")
def root(run):
    from common.run import folder

    return folder.load_config(run)["data"]["root"]
