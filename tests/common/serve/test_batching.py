"""One thread, one queue: who came is answered, alone or in company, and nobody is left hanging."""

import queue
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from common.serve import batching
from common.serve.batching import Batcher
from common.serve.refused import Refused
from common.serve.served import Model
from tests.common.serve.gate import PATIENCE, Gate, wait_for
from tests.common.serve.painted import COLOURS, PREPROCESSING, by_colour


def started(call, batch_size=4, capacity=16) -> Batcher:
    batcher = Batcher(
        lambda: Model(list(COLOURS), [PREPROCESSING], call, "toy"), batch_size, capacity, lambda size: None
    )
    batcher.start()
    wait_for(lambda: batcher.ready or batcher.closed)
    return batcher


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def blocked(gate, batch_size=4, capacity=16):
    """A batcher whose model holds one picture and does not let go of it."""
    batcher = started(gate, batch_size, capacity)
    gate.sizes.clear()
    gate.entered.clear()
    gate.open.clear()
    first = batcher.submit([pictures(1)[0]])
    assert gate.entered.wait(PATIENCE)
    return batcher, first


def test_each_gets_its_own_row_however_they_are_batched(gate):
    images = pictures(50)
    batcher = started(gate, batch_size=7, capacity=50)
    rows = [future.result(PATIENCE) for future in [batcher.submit([image]) for image in images]]
    batcher.close()
    np.testing.assert_allclose(rows, by_colour([images]), rtol=1e-6)


def test_what_came_meanwhile_is_one_batch_and_no_larger_than_allowed(gate):
    batcher, first = blocked(gate, batch_size=4)
    rest = [batcher.submit([image]) for image in pictures(6)]
    gate.open.set()
    for future in [first, *rest]:
        future.result(PATIENCE)
    batcher.close()
    assert gate.sizes == [1, 4, 2]


@pytest.fixture
def clock(monkeypatch):
    """The batcher's, which stands still unless a test moves it on."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(batching, "time", clock)
    return clock


@pytest.fixture
def after_many(gate, clock, monkeypatch):
    """A batcher that has just answered four pictures, in a second, and waits for company until it hangs."""
    monkeypatch.setattr(batching, "LINGER", 10 * PATIENCE)
    batcher, first = blocked(gate)
    many = [batcher.submit([image]) for image in pictures(4)]
    gate.on_batch = lambda: setattr(clock, "now", clock.now + 1)
    gate.open.set()
    for future in [first, *many]:
        future.result(PATIENCE)
    gate.on_batch = lambda: None
    gate.sizes.clear()
    yield batcher
    batcher.close()


def test_few_that_follow_many_wait_for_company(gate, after_many):
    one = after_many.submit([pictures(1)[0]])
    wait_for(after_many.waiting.empty)
    for future in [one, after_many.submit([pictures(1)[0]])]:
        future.result(PATIENCE)
    assert gate.sizes == [2]


def test_who_waits_for_company_in_vain_is_answered_alone(gate, after_many, monkeypatch):
    waited, get = [], after_many.waiting.get

    def in_vain(timeout=None):
        if not timeout:
            return get(timeout=timeout)
        waited.append(timeout)
        raise queue.Empty

    monkeypatch.setattr(after_many.waiting, "get", in_vain)
    assert after_many.submit([pictures(1)[0]]).result(PATIENCE).shape == (3,)
    assert waited == [10 * PATIENCE] and gate.sizes == [1]


def test_who_comes_later_waits_for_nobody(after_many, clock):
    clock.now += 10 * PATIENCE
    assert after_many.submit([pictures(1)[0]]).result(PATIENCE).shape == (3,)


def test_at_the_end_nobody_waits_for_company(after_many):
    held = after_many.submit([pictures(1)[0]])
    after_many.close()
    assert held.result(0).shape == (3,)


def test_a_full_queue_refuses_and_loses_nothing(gate):
    batcher, first = blocked(gate, capacity=3)
    accepted = [batcher.submit([image]) for image in pictures(3)]
    with pytest.raises(Refused, match="too many") as refused:
        batcher.submit([pictures(1)[0]])
    assert refused.value.status == 503
    gate.open.set()
    assert all(future.result(PATIENCE).shape == (3,) for future in [first, *accepted])
    batcher.close()


def test_nobody_computes_what_nobody_waits_for(gate):
    batcher, first = blocked(gate)
    waiting = [batcher.submit([image]) for image in pictures(3)]
    assert waiting[1].cancel()
    gate.open.set()
    batcher.close()
    assert first.done() and gate.sizes == [1, 2]


def test_closing_answers_what_waits(gate):
    batcher, first = blocked(gate, batch_size=2)
    rest = [batcher.submit([image]) for image in pictures(5)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    wait_for(lambda: not batcher.ready)
    with pytest.raises(Refused):
        batcher.submit([pictures(1)[0]])
    gate.open.set()
    closing.join(PATIENCE)
    assert all(future.result(0).shape == (3,) for future in [first, *rest])
    assert not batcher.thread.is_alive() and batcher.error is None


def failing(after: int, what):
    calls = iter(range(10_000))

    def call(images):
        return what() if next(calls) >= after else by_colour(images)

    return call


def fail():
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("what", [fail, lambda: np.full((1, 3), np.nan), lambda: np.zeros((0, 3))])
def test_a_model_that_fails_ends_the_service_of_all_who_wait(what):
    batcher = started(failing(3, what), batch_size=1)  # two calls warm it up
    futures = []
    for image in pictures(5):
        try:
            futures.append(batcher.submit([image]))
        except Refused:
            break
    refused = [future.exception(PATIENCE) for future in futures]
    assert all(isinstance(error, Refused) and error.status == 503 for error in refused if error)
    assert any(refused)
    wait_for(lambda: not batcher.thread.is_alive())
    assert not batcher.ready and batcher.error is not None
    with pytest.raises(Refused, match="started again"):
        batcher.submit([pictures(1)[0]])


def test_before_it_is_loaded_it_says_so():
    batcher = Batcher(lambda: None, 4, 4)
    with pytest.raises(Refused, match="loading"):
        batcher.submit([pictures(1)[0]])
