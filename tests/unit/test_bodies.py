import asyncio

import pytest

from artifacts.settings import MEGABYTE, read
from serving.api import bodies
from serving.api.bodies import Bodies, Gone
from serving.errors import QueueFull, TooLarge, TooSlow

SETTINGS = read({"TINTYPE_MAX_BODY_MB": "1"})


def sent(*pieces, hung_up=False):
    """What a client sends, as ASGI tells it; without `hung_up` the last piece is the end."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if hung_up:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    return receive


async def nothing():
    await asyncio.sleep(60)


def test_a_body_in_one_piece_and_in_many():
    for pieces in ([b""], [b"picture"], [b"p", b"ict", b"", b"ure"]):
        assert asyncio.run(Bodies(SETTINGS).read(sent(*pieces))) == b"".join(pieces)


def test_what_is_declared_too_large_is_refused_before_it_is_sent():
    Bodies(SETTINGS).check(MEGABYTE)
    with pytest.raises(TooLarge, match="the body has more than 1 MB; send it in parts, or raise TINTYPE_MAX_BODY_MB"):
        Bodies(SETTINGS).check(MEGABYTE + 1)


def test_what_turns_out_too_large_is_refused():
    with pytest.raises(TooLarge):
        asyncio.run(Bodies(SETTINGS).read(sent(b"x" * MEGABYTE, b"y")))


def test_a_client_that_hangs_up_is_nobody_to_answer():
    with pytest.raises(Gone):
        asyncio.run(Bodies(SETTINGS).read(sent(b"x", hung_up=True)))


def test_a_body_that_does_not_come_is_refused(monkeypatch):
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    first = sent(b"x", b"y")

    async def receive():
        return await first() if receive.calls.append(1) or len(receive.calls) == 1 else await nothing()

    receive.calls = []
    with pytest.raises(TooSlow, match="the body did not come within"):
        asyncio.run(Bodies(SETTINGS).read(receive))


def test_all_that_is_held_at_a_time_is_bounded_and_let_go():
    held = Bodies(SETTINGS)
    with held.holding(bodies.AT_ONCE * MEGABYTE), pytest.raises(QueueFull, match="too many large requests"):
        asyncio.run(held.read(sent(b"x", b"y")))
    assert asyncio.run(held.read(sent(b"x", b"y"))) == b"xy"


def test_what_is_refused_is_read_for_a_while_and_forgotten(monkeypatch):
    asyncio.run(Bodies(SETTINGS).discard(sent(b"x" * MEGABYTE, b"y", b"z")))
    endless = {"type": "http.request", "body": b"x" * MEGABYTE, "more_body": True}
    read_on = []

    async def receive():
        read_on.append(1)
        return endless

    asyncio.run(Bodies(SETTINGS).discard(receive))
    assert len(read_on) == bodies.LINGER_TIMES
    monkeypatch.setattr(bodies, "LINGER_SECONDS", 0.05)
    asyncio.run(Bodies(SETTINGS).discard(nothing))
