"""The small run that predicts with two views."""

from tests.common.deliver.conftest import root, run, toys  # noqa: F401
