"""A small run of grey pictures, whose characters may be drawn."""

import pytest


@pytest.fixture(scope="package")
def drawn(toys, tmp_path_factory):
    from common.train.train import train

    run = tmp_path_factory.mktemp("page") / "run"
    words = ["trainer.max_epochs=4", "optimizer.lr=0.01", "page.draw=true", "page.brush=0.1"]
    train(toys(*words, "data.size=[32,32]", "data.sample=true", f"run_dir={run}"))
    return run
