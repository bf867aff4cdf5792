"""When a decision was made, and how much of the ledger it knew: what others judge it again by."""

from dataclasses import replace

import pytest

from keyvault.core import limits
from keyvault.core.commands import RequestSignature
from keyvault.core.decide import Authorised, decide_signature
from keyvault.core.errors import Overloaded, Reason
from keyvault.core.events import SignatureEscalated, SignatureIssued
from keyvault.core.ids import UnixMillis
from keyvault.core.intent import (
    SOLANA_BLOCKHASH_MS,
    Bound,
    Completeness,
    Effect,
    Intent,
    Operation,
    PayloadKind,
    ending,
)
from keyvault.core.keys import KeyAlgorithm
from keyvault.core.policy import Rule, Verdict
from keyvault.core.windows import Reservations
from keyvault.intents import describe
from tests.core.attacking import world_that_asks
from tests.core.governed import Governed
from tests.worlds import BOT, NOW, allow_digest, digest_request, people, policy

SHORT = 10_000
"""A validity that a recent blockhash does not have."""


def solana(*bounds: Bound, expires_at: UnixMillis | None = None) -> Intent:
    """Return a Solana message that moves nothing; with Bound.EXPIRY its blockhash is a recent one."""
    return Intent(
        kind=PayloadKind.SOLANA_MESSAGE,
        algorithms=frozenset({KeyAlgorithm.SECP256K1}),
        signing_input=bytes(32),
        effects=(Effect(operation=Operation.SETUP, network="solana", fee_max=0),),
        completeness=Completeness.FULL,
        binds=frozenset(bounds),
        expires_at=expires_at,
    )


def judged(validity_ms_max: int, intent: Intent) -> object:
    """Return what is decided under a policy that allows no longer validity."""
    rule = Rule(
        id="short",
        verdict=Verdict.ALLOW,
        keys=frozenset({"signer"}),
        principals=frozenset({BOT}),
        kinds=frozenset({PayloadKind.SOLANA_MESSAGE}),
        operations=frozenset({Operation.SETUP}),
        chains=frozenset({"solana"}),
        fee_max=0,
        validity_ms_max=validity_ms_max,
    )
    world = Governed(*people("alice", "bob"), rules=policy(rule))
    world.key()
    command = RequestSignature(request=digest_request("r").request, intent=intent)
    return decide_signature(world.state, Reservations(), command, NOW, describe)


def test_a_recent_blockhash_ends_and_a_durable_nonce_does_not() -> None:
    """A12: a cap on validity lets a message with a recent blockhash through, and never one with a durable nonce."""
    recent = judged(SOLANA_BLOCKHASH_MS, solana(Bound.EXPIRY))
    assert isinstance(recent, Authorised)
    assert recent.command.intent.expires_at == NOW + SOLANA_BLOCKHASH_MS
    for refused in (judged(SHORT, solana(Bound.EXPIRY)), judged(2**62, solana())):
        assert not isinstance(refused, Authorised)
    assert ending(solana(), NOW) is None
    assert ending(solana(Bound.EXPIRY, expires_at=UnixMillis(5)), NOW) == 5


def test_a_clock_behind_the_ledger_asks_no_members() -> None:
    """The fact would have a time that policy did not judge; when the clock has caught up members are asked."""
    world = world_that_asks()
    early = UnixMillis(world.state.latest_at - 1)
    with pytest.raises(Overloaded, match="1 ms behind"):
        decide_signature(world.state, Reservations(), digest_request("r"), early, describe)
    later = decide_signature(world.state, Reservations(), digest_request("r"), world.state.latest_at, describe)
    assert isinstance(later, SignatureEscalated)


def test_a_decision_does_not_claim_to_have_known_another_ledger() -> None:
    """An entry that knew more than stands before it, or less than can be under way, does not follow."""
    world = Governed(*people("alice", "bob"), rules=policy(allow_digest()))
    world.key()
    signed = world.sign("a")
    assert isinstance(signed, SignatureIssued)
    assert signed.known == len(world.events) - 1
    following = replace(signed, request=digest_request("b").request, known=len(world.events))
    world.refuses(replace(following, known=len(world.events) + 1), Reason.STATE_MISMATCH)
    world.refuses(replace(following, known=-1 - limits.HISTORY_LAG_MAX), Reason.STATE_MISMATCH)
    world.add(following)
