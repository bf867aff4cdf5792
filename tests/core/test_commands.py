"""What is accepted can be recorded: no request may reach the token whose answer does not fit into an entry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault import intents
from keyvault.core import limits
from keyvault.core.commands import RequestSignature, check_recordable
from keyvault.core.errors import Malformed, Reason
from keyvault.core.events import SignatureIssued, SignatureRefused, SignatureRequest
from keyvault.core.ids import Epoch, Principal, RequestId
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.keys import Signature
from keyvault.ledger import codec
from tests.worlds import NOW

LONGEST = Principal("spiffe://" + "d" * 128 + "/bot/" + "b" * 63)


def _order(symbol: str, client_id: str) -> Payload:
    query = f"symbol={symbol}&side=BUY&workingSide=SELL&pendingSide=SELL&newClientOrderId={client_id}&timestamp={NOW}"
    return Payload(kind=PayloadKind.BINANCE_REST, parts=(query.encode(), b""))


def _commands(payload: Payload) -> RequestSignature:
    asked = SignatureRequest(
        request_id=RequestId("r" * 64), principal=LONGEST, key="k" * 63 + "/versions/999999999", payload=payload
    )
    return RequestSignature(request=asked, intent=intents.parse(payload, intents.ANYBODY))


@given(st.integers(1, 200), st.integers(1, limits.PAYLOAD_BYTES_MAX))
def test_what_is_accepted_fits_into_an_entry(symbol: int, client_id: int) -> None:
    """The largest answer to any exchange request that passes, and the largest refusal, can be written."""
    try:
        command = _commands(_order("A" * symbol, "c" * client_id))
        check_recordable(command)
    except Malformed:
        return
    rules = tuple(f"{n:063}" for n in range(len(command.intent.effects)))
    issued = SignatureIssued(
        at=NOW,
        epoch=Epoch(2**62),
        request=command.request,
        key_version=1,
        signing_input=command.intent.signing_input,
        effects=command.intent.effects,
        completeness=command.intent.completeness,
        policy_version=2**31,
        policy_sha256=bytes(32),
        rules=rules,
        signature=Signature(value=bytes(64), recovery_id=1),
    )
    refused = SignatureRefused(
        at=NOW,
        epoch=Epoch(2**62),
        request=command.request,
        reason=Reason.DENIED_BY_RULE,
        explanation="漢" * limits.EXPLANATION_CHARS_MAX,
        policy_version=2**31,
        policy_sha256=bytes(32),
        rules=tuple(f"{n:063}" for n in range(limits.POLICY_RULES_MAX)),
    )
    assert len(codec.encode(issued)) <= limits.ENTRY_BYTES_MAX
    assert len(codec.encode(refused)) <= limits.ENTRY_BYTES_MAX


@pytest.mark.parametrize("name", ["symbol", "coin", "asset", "address", "addressTag"])
def test_facts_of_an_exchange_request_are_short(name: str) -> None:
    """What would be written again as a fact has a bound of its own."""
    long = "A" * (limits.EXCHANGE_FACT_CHARS_MAX + 1)
    others = "" if name == "address" else "&address=0xabc"
    query = f"{name}={long}{others}&timestamp={NOW}"
    with pytest.raises(Malformed, match=name):
        intents.parse(Payload(kind=PayloadKind.BINANCE_REST, parts=(query.encode(), b"")), intents.ANYBODY)
