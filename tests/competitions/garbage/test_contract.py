"""The contest's own request and reply."""

import numpy as np

from common.serve.contract import contract_of
from competitions.garbage.contract import GarbageContract
from tests.common.serve.clients import client_of
from tests.common.serve.painted import picture, source

NAMES = ["其他垃圾/烟蒂", "可回收物/易拉罐", "厨余垃圾/鱼骨"]


def test_the_reply_is_group_and_item():
    contract = contract_of({"_target_": "competitions.garbage.contract.GarbageContract"})
    assert isinstance(contract, GarbageContract) and contract.field == "input_img"
    assert contract.answer(np.array([0.2, 0.7, 0.1]), NAMES) == {"result": "可回收物/易拉罐"}


def test_over_http_it_is_asked_as_the_contest_asked():
    service = {"_target_": "competitions.garbage.contract.GarbageContract"}
    with client_of(source(service=service)) as client:
        reply = client.post("/", files={"input_img": ("img_1.jpg", picture("绿", form="JPEG"))})
        assert (reply.status_code, reply.json()) == (200, {"result": "绿"})
        assert client.post("/", files={"img": picture()}).status_code == 422
