"""The thread that no prediction waits for."""

import asyncio
import os
import sys
import threading

import pytest
import torch

from common.serve.aside import NICE, WAITING, Aside
from common.serve.limits import Limits
from common.serve.refused import Refused
from common.serve.service import Service
from tests.common.serve.painted import source


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
def test_its_priority_is_low_and_nobody_elses():
    aside, before, threads = Aside(), priority(), torch.get_num_threads()
    assert asyncio.run(aside.run(priority)) == min(before + NICE, 19)
    assert (priority(), torch.get_num_threads()) == (before, threads)
    aside.close()


def test_one_at_a_time_in_order_and_no_more_than_it_takes():
    aside, release, done = Aside(), threading.Event(), []

    async def flood():
        first = asyncio.create_task(aside.run(release.wait, 60))
        others = [asyncio.create_task(aside.run(done.append, number)) for number in range(WAITING - 1)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await aside.run(done.append, "too many")
        assert refused.value.status == 503 and refused.value.state == "busy" and not done
        others[1].cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, *others, return_exceptions=True)

    asyncio.run(flood())
    assert done == [number for number in range(WAITING - 1) if number != 1] and aside.waiting == 0
    aside.close()


def test_pictures_are_prepared_by_as_many_threads_as_there_are_cores_to_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    service = Service(source(), Limits(), 1)
    assert service.threads._max_workers == 3
