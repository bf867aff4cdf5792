"""I8: no is the zero value."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from keyvault import client as sdk
from keyvault.core.errors import Reason
from keyvault.core.events import SignatureRefused
from keyvault.core.statements import Action
from keyvault.ledger.codec_policy import encode_policy
from keyvault.v1 import signing_pb2, types_pb2
from tests.deployment import Deployment, copy_of, served
from tests.e2e import desk
from tests.intents.building import dynamic_fee, mail

UNKNOWN_FIELD = b"\xfa\x3f\x01x"
"""Field 1023, one byte: of a later version, or of nobody."""


def every_kind() -> list[signing_pb2.SignRequest]:
    """Return a well-formed request of each kind, each for the key that is made for it."""
    exchange = types_pb2.ExchangeRequest(venue=types_pb2.VENUE_BINANCE, query=desk.order())
    return [
        desk.request("transfer", types_pb2.Payload(evm_transaction=dynamic_fee()), "eth"),
        desk.request("mail", types_pb2.Payload(typed_data=json.dumps(mail()).encode()), "eth"),
        desk.request("order", types_pb2.Payload(exchange_request=exchange), "hmac"),
        desk.request("digest", types_pb2.Payload(raw_digest=b"d" * 32), "signer"),
    ]


def test_genesis_policy_refuses_everything(fresh: Deployment, tmp_path: Path) -> None:
    """I8: under the policy that a new deployment has, every kind of payload is refused, with the reason on record."""
    own = copy_of(fresh, tmp_path / "desk")
    answers: desk.Answers = {}
    with served(own):
        assert asyncio.run(desk.burst(own, every_kind(), answers)) == {}
    facts = desk.facts_by_id(desk.audited(own))
    assert set(facts) == {"transfer", "mail", "order", "digest"}
    for request_id, (_, fact) in facts.items():
        assert isinstance(fact, SignatureRefused)
        assert fact.reason is Reason.NO_RULE_ALLOWS
        assert b"NO_RULE_ALLOWS" in answers[request_id].refusal


def _payload(data: bytes) -> signing_pb2.SignRequest:
    return desk.request("odd", types_pb2.Payload.FromString(data))


NONSENSE: dict[str, Callable[[], signing_pb2.SignRequest]] = {
    "nothing": signing_pb2.SignRequest,
    "no payload": lambda: desk.request("odd", types_pb2.Payload()),
    "unknown format": lambda: _payload(UNKNOWN_FIELD),
    "known format and an unknown field": lambda: _payload(b"\x22\x20" + bytes(32) + UNKNOWN_FIELD),
    "request with an unknown field": lambda: signing_pb2.SignRequest.FromString(
        desk.digest_request("odd").SerializeToString() + UNKNOWN_FIELD
    ),
    "no request id": lambda: desk.digest_request(""),
    "no key": lambda: desk.digest_request("odd", ""),
    "empty digest": lambda: desk.request("odd", types_pb2.Payload(raw_digest=b"")),
    "digest of 31 bytes": lambda: desk.request("odd", types_pb2.Payload(raw_digest=bytes(31))),
    "no venue": lambda: desk.request(
        "odd", types_pb2.Payload(exchange_request=types_pb2.ExchangeRequest(query=desk.order())), "hmac"
    ),
    "unknown venue": lambda: desk.request(
        "odd",
        types_pb2.Payload(
            exchange_request=types_pb2.ExchangeRequest.FromString(
                b"\x08\x63" + types_pb2.ExchangeRequest(query=desk.order()).SerializeToString()
            )
        ),
        "hmac",
    ),
    "empty transaction": lambda: desk.request("odd", types_pb2.Payload(evm_transaction=b""), "eth"),
    "unknown transaction type": lambda: desk.request("odd", types_pb2.Payload(evm_transaction=b"\x05\xc0"), "eth"),
    "transaction cut off": lambda: desk.request("odd", types_pb2.Payload(evm_transaction=dynamic_fee()[:-1]), "eth"),
    "typed data without types": lambda: desk.request("odd", types_pb2.Payload(typed_data=b"{}"), "eth"),
}


@pytest.mark.parametrize("what", sorted(NONSENSE))
async def test_what_cannot_be_read_is_refused(shared: Deployment, what: str) -> None:
    """I8: an absent, unknown or unreadable field is INVALID_ARGUMENT; nothing is signed, nothing is recorded."""
    before = await desk.ledger_size(shared)
    async with desk.bot(shared) as bot:
        outcome = await desk.ask(bot.transport.endpoints[0].signing, NONSENSE[what]())
    assert outcome is grpc.StatusCode.INVALID_ARGUMENT
    assert await desk.ledger_size(shared) == before


async def test_policy_with_an_unknown_field(shared: Deployment) -> None:
    """I8: a policy that says something that this build does not know is refused, though a member signed it."""
    document = encode_policy(desk.POLICY) + UNKNOWN_FIELD
    parameters = {"policy_sha256": hashlib.sha256(document).hexdigest(), "version": "3", "replay_sha256": "none"}
    async with desk.admin(shared) as admin:
        before = await admin.get_policy()
        said = admin.make_statement(await admin.get_enclave(), Action.POLICY_PUBLISH, parameters, requester="alice")
        with pytest.raises(sdk.InvalidRequest):
            await admin.propose(said, desk.member(shared), document=document)
        assert await admin.get_policy() == before
