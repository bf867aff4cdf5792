"""What auditors find in facts about tokens: proofs that are none, and the evidence of a join."""

from dataclasses import replace

import pytest

from keyvault.core.events import KeyProved
from keyvault.core.tokens import possession_input
from keyvault.ledger import codec
from keyvault.ledger.account import replay
from keyvault.ledger.errors import Unproven
from keyvault.ledger.signatures import misproved
from keyvault.ledger.verify import verify
from tests.core.governed import Governed
from tests.core.test_tokens import KV1, SIGNER, joined, moving, prove
from tests.ledger.token_keys import TokenKey, secp256k1_key


def _with_real_key(monkeypatch: pytest.MonkeyPatch, key: TokenKey) -> Governed:
    """Return an enclave whose key signer has this public key, and whose token of KV1 has joined."""
    monkeypatch.setattr("tests.core.governed.PUBLIC_KEY", key.public_key)
    world = moving()
    world.key()
    joined(world)
    return world


def test_an_audit_verifies_what_tokens_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature over the token's own challenge is found right; over another one, or of zeros, it is a problem."""
    key = secp256k1_key()
    world = _with_real_key(monkeypatch, key)
    version = world.state.keys[SIGNER].versions[1]
    challenge = world.state.tokens.joined[KV1].challenge
    prove(world)
    fact = world.events[-1]
    assert isinstance(fact, KeyProved)
    for asked, wrong in ((challenge, False), (bytes(32), True)):
        signature = key.sign(possession_input(version.token_object_id, version.public_key, asked))
        assert bool(misproved(world.state, replace(fact, signature=signature))) is wrong
    report = verify([codec.encode(event) for event in world.events], [])
    assert any(f"{KV1} did not prove key signer version 1" in problem.sentence for problem in report.problems)


def test_the_evidence_of_a_join_is_enough() -> None:
    """Genesis, term, proposal, ballot and fact tell who gave a token its power; without the ballot nothing follows."""
    world = moving()
    world.key()
    joined(world)
    last = len(world.events) - 1
    entries = [(index, codec.encode(world.events[index])) for index in (0, 1, last - 2, last - 1, last)]
    account = replay(entries)
    assert account.case.statement["node"] == KV1
    assert account.case.done is not None
    with pytest.raises(Unproven):
        replay([entry for entry in entries if entry[0] != last - 1])
