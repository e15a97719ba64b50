"""A service of a toy model."""

from dataclasses import replace

import pytest

from common.deliver.serve.app import create_app
from common.deliver.serve.limits import Limits
from tests.common.deliver.serve.clients import PATIENT, client_of, running
from tests.common.deliver.serve.painted import source


@pytest.fixture(scope="module")
def client():
    with client_of(source()) as client:
        yield client


@pytest.fixture(scope="module")
def live():
    """The address of a service of the toy model, with a contract."""
    limits = replace(PATIENT, megabytes=0.2, megapixels=1)
    service = {"_target_": "tests.common.deliver.serve.test_contract.Shout"}
    with running(create_app(source(service=service), limits)) as address:
        yield address


@pytest.fixture(scope="module")
def impatient():
    """The address of one that waits half a second for whoever is slow."""
    with running(create_app(source(), Limits(upload_seconds=0.5))) as address:
        yield address
