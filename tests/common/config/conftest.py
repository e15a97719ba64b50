from pathlib import Path

import pytest

from tests.common.config.sample_conf import Conf


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conf:
    monkeypatch.chdir(tmp_path)
    return Conf(tmp_path / "conf")
