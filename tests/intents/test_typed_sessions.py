"""Sign-ins: Polymarket's ClobAuth and dYdX's onboarding."""

from typing import Any

import pytest

from keyvault.core.intent import Bound, Completeness, Operation
from keyvault.intents import ethereum_address, keccak256
from keyvault.intents.typed_data import assemble
from tests.intents.building import digest_by_eth_account, sign
from tests.intents.typed_building import SIGNER, document, effect, payload_of, read, refused

CLOB_AUTH = "ClobAuth(address address,string timestamp,uint256 nonce,string message)"
KNOWN_SECRET = keccak256(b"a key that anybody may know")


def clob_auth(domain: dict[str, Any]) -> dict[str, Any]:
    """Return the sign-in of the public example (py-clob-client-v2, tests/signing/test_eip712.py)."""
    message = {
        "address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "timestamp": "10000000",
        "nonce": 23,
        "message": "This message attests that I control the given wallet",
    }
    return document(CLOB_AUTH, message, domain)


def test_clob_auth() -> None:
    """A sign-in at Polymarket opens a session; its domain has no contract. The digest is that of the public example."""
    value = clob_auth({"name": "ClobAuthDomain", "version": "1", "chainId": 80002})
    intent = read(value)
    address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    expected = effect(value, Operation.SESSION, venue="polymarket", source=address, fee_max=None)
    assert intent.effects == (expected,)
    assert (intent.completeness, intent.expires_at, intent.slot) == (Completeness.FULL, None, None)
    assert intent.binds == {Bound.ACCOUNT, Bound.NONCE, Bound.CHAIN}
    assert intent.signing_input == digest_by_eth_account(value)


def test_clob_auth_signature_recovers() -> None:
    """The published signature of the example is that of our digest."""
    import coincurve  # noqa: PLC0415 - here only

    raw = bytes.fromhex(
        "f62319a987514da40e57e2f4d7529f7bac38f0355bd88bb5adbb3768d80de6c1"
        "682518e0af677d5260366425f4361e7b70c25ae232aff0ab2331e2b164a1aedc"
    )
    digest = read(clob_auth({"name": "ClobAuthDomain", "version": "1", "chainId": 80002})).signing_input
    key = coincurve.PublicKey.from_signature_and_message(raw + b"\0", digest, hasher=None)
    assert ethereum_address(key.format(compressed=False)) == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.mark.parametrize("domain", [{"name": "x", "version": "1"}, {"chainId": 1}, {"name": "x", "chainId": 1}])
def test_clob_auth_elsewhere(domain: dict[str, Any]) -> None:
    """Other domains without a contract are refused for ClobAuth as for everything else."""
    assert refused(payload_of(clob_auth(domain)))[0] == "types.EIP712Domain"


@pytest.mark.parametrize("domain", [{"name": "dYdX Chain"}, {"name": "dYdX Chain", "chainId": 1}])
def test_onboarding_at_dydx(domain: dict[str, Any]) -> None:
    """The signature is the seed of a private key of dYdX's chain: a grant of a key, on whatever chain it says."""
    value = document("dYdX(string action)", {"action": "dYdX Chain Onboarding"}, domain)
    intent = read(value)
    assert intent.effects == (effect(value, Operation.KEY_GRANT, venue="dydx", fee_max=None),)
    assert (intent.completeness, intent.expires_at) == (Completeness.FULL, None)
    assert intent.signing_input == digest_by_eth_account(value)


def test_domain_by_name_only() -> None:
    """A domain with a name alone is refused for every type that is not known to have such a one."""
    assert refused(payload_of(document("Sign(string action)", {"action": "x"}, {"name": "dYdX Chain"}))) == (
        "types.EIP712Domain",
        "must have chainId: without it the signature is valid elsewhere too",
    )


def test_signature_has_65_bytes() -> None:
    """What is sent is r, s and v, 27 or 28."""
    payload = payload_of(document("dYdX(string action)", {"action": "x"}, {"name": "dYdX Chain"}))
    signature = sign(keccak256(b"x"), KNOWN_SECRET)
    output = assemble(payload, SIGNER, signature)
    assert output.raw == signature.value + bytes((27 + (signature.recovery_id or 0),))
