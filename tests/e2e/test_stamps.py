"""Stamped requests over crashes: I3 and the growth of nonces with everything real."""

import asyncio
from itertools import pairwise

import grpc
import pytest

from keyvault.core.events import Event, SignatureIssued, TermStarted
from keyvault.engine.observer import Step
from keyvault.v1 import signing_pb2, types_pb2
from tests.deployment import Deployment, run_keyvault, start_server
from tests.e2e import desk
from tests.e2e.crashing_server import command
from tests.e2e.test_crash import assert_one_answer, killed

REQUESTS = 200
QUERY = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity={}"


def order(number: int) -> signing_pb2.SignRequest:
    """Return an order without a time, by key of HMAC or of Ed25519."""
    request = types_pb2.ExchangeRequest(venue=types_pb2.VENUE_BINANCE, query=QUERY.format(number + 1))
    payload = types_pb2.Payload(exchange_request=request)
    return desk.request(f"order-{number}", payload, "hmac" if number % 2 else "ed")


def terms(events: list[Event], key: str) -> list[list[int]]:
    """Return the nonces of a key, by term."""
    found: list[list[int]] = [[]]
    for event in events:
        if isinstance(event, TermStarted):
            found.append([])
        elif isinstance(event, SignatureIssued) and event.request.key == key:
            assert event.stamp is not None
            found[-1].append(event.stamp.nonce)
    return [nonces for nonces in found if nonces]


@pytest.mark.parametrize(("step", "nth"), [(Step.DECIDED, 80), (Step.SIGNED, 80), (Step.APPENDED, 2)])
async def test_killed_at_a_step(own: Deployment, step: Step, nth: int) -> None:
    """I3: killed with SIGKILL, each id has one stamp and signature; nonces are never repeated, and grow over terms."""
    requests = [order(number) for number in range(REQUESTS)]
    answers: desk.Answers = {}
    await asyncio.to_thread(start_server, own, command=command(step, nth))
    failed = await desk.burst(own, requests, answers)
    await killed(own)
    assert set(failed) == {grpc.StatusCode.UNAVAILABLE}
    await assert_one_answer(own, requests, answers)
    events = await asyncio.to_thread(desk.audited, own)
    for key in ("hmac", "ed"):
        by_term = terms(events, key)
        nonces = [nonce for term in by_term for nonce in term]
        assert len(set(nonces)) == len(nonces) == REQUESTS // 2
        assert all(max(before) < min(after) for before, after in pairwise(by_term))
    for answer in answers.values():
        response = signing_pb2.SignResponse.FromString(answer.response)
        assert f"timestamp={response.stamp.at_ms}&signature=" in response.exchange_request.query
    done = await asyncio.to_thread(run_keyvault, "audit", "verify", str(own.ledger), "--log-vkey", own.log_vkey)
    assert done.returncode == 0, done.stdout
