"""A service of a toy model."""

import pytest

from common.deliver.serve.app import create_app
from common.deliver.serve.limits import Limits
from tests.common.deliver.serve.clients import client_of, running
from tests.common.deliver.serve.painted import source


@pytest.fixture(scope="module")
def client():
    with client_of(source()) as client:
        yield client


@pytest.fixture(scope="module")
def live():
    """The address of a service of the toy model, with a contract, that does not wait for the slow."""
    limits = Limits(megabytes=0.2, megapixels=1, upload_seconds=0.5)
    service = {"_target_": "tests.common.deliver.serve.test_contract.Shout"}
    with running(create_app(source(service=service), limits)) as address:
        yield address
