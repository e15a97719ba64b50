"""A competition's own contract is found by its name in the configuration, whatever it says."""

import pytest
from pydantic import BaseModel

from common.errors import PodiumError
from common.serve.contract import contract_of
from tests.common.serve.clients import client_of
from tests.common.serve.painted import picture, source


class Said(BaseModel):
    said: str


class Shout:
    """Answers by the share of the best class, as a contest might want it."""

    field = "photo"
    reply = Said

    def __init__(self, sign: str = "!") -> None:
        self.sign = sign

    def answer(self, probabilities, class_names):
        return {"said": class_names[probabilities.argmax()] + self.sign}


PART = {"_target_": "tests.common.serve.test_contract.Shout", "sign": "!!"}


def test_a_contract_answers_beside_predict():
    with client_of(source(service=PART)) as client:
        assert client.post("/", files={"photo": picture("蓝")}).json() == {"said": "蓝!!"}
        reply = client.post("/", files={"image": picture("蓝")})
        assert reply.status_code == 422 and "the field photo" in reply.json()["error"]
        assert client.post("/", files={"photo": b"x"}).status_code == 415
        assert client.post("/predict", files={"image": picture("蓝")}).status_code == 200
        assert client.get("/").status_code == 200
        paths = client.get("/openapi.json").json()["paths"]
        form = paths["/"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["required"] == ["photo"]
        reply = paths["/"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert reply["$ref"].endswith("/Said")


def test_the_configuration_names_it(toy):
    assert toy()["service"] is None
    assert toy(f"+service._target_={PART['_target_']}")["service"] == {"_target_": PART["_target_"]}
    assert contract_of(None) is None
    with pytest.raises(PodiumError, match="service must be a component"):
        contract_of({"sign": "!"})
