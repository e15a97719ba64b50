"""A service of a toy model."""

from dataclasses import replace

import pytest

from common.serve.app import create_app
from common.serve.limits import Limits
from tests.common.deliver.conftest import root, run, toys  # noqa: F401
from tests.common.serve.clients import PATIENT, client_of, running
from tests.common.serve.painted import source


@pytest.fixture(scope="module")
def client():
    with client_of(source()) as client:
        yield client


@pytest.fixture(scope="module")
def live():
    """The address of a service of the toy model, with a contract."""
    limits = replace(PATIENT, megabytes=0.2, megapixels=1)
    service = {"_target_": "tests.common.serve.test_contract.Shout"}
    with running(create_app(source(service=service), limits)) as address:
        yield address


@pytest.fixture(scope="module")
def impatient():
    """The address of one that waits half a second for whoever is slow."""
    with running(create_app(source(), Limits(upload_seconds=0.5))) as address:
        yield address
