"""A server that lies about what members are asked is found out before anybody reads it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from keyvault import client as sdk
from keyvault import intents
from keyvault.core.approvals import Voice
from keyvault.core.intent import Payload, PayloadKind
from keyvault.core.proposals import Outcome, proposal_name
from keyvault.core.statements import Action, decode_statement, proposal_id_of
from keyvault.ledger.codec_policy import encode_policy, policy_sha256
from keyvault.v1 import governance_pb2
from tests.client.scripted import UNAVAILABLE, ScriptedServer, Time, escalated, shown_as
from tests.intents.building import dynamic_fee
from tests.worlds import allow_digest, policy

Shown = governance_pb2.Proposal
TRANSFER = Payload(kind=PayloadKind.EVM_TRANSACTION, parts=(dynamic_fee(),))
BOB = sdk.MemberKey("bob", ed25519.Ed25519PrivateKey.generate())
DOCUMENT = encode_policy(policy(allow_digest(), version=2))


def publishing() -> Shown:
    """Return how an honest server shows a policy that is proposed."""
    said = replace(
        decode_statement(escalated(TRANSFER).statement),
        action=Action.POLICY_PUBLISH,
        requester="alice",
        parameters=(("policy_sha256", policy_sha256(DOCUMENT).hex()), ("replay_sha256", "none"), ("version", "2")),
    )
    return shown_as(said, DOCUMENT)


def rename(shown: Shown) -> None:
    """Give it the name that goes with its statement."""
    shown.name = f"enclaves/hot/proposals/{proposal_id_of(shown.statement).hex()}"


def swapped_payload(shown: Shown) -> None:
    shown.signature_subject.payload.evm_transaction = dynamic_fee(value=b"\x01")


def swapped_kind(shown: Shown) -> None:
    shown.signature_subject.payload.raw_digest = b"d" * 32


def unreadable_payload(shown: Shown) -> None:
    shown.signature_subject.payload.evm_transaction = b"\x02\xc0"


def no_payload(shown: Shown) -> None:
    shown.signature_subject.ClearField("payload")


def no_subject(shown: Shown) -> None:
    shown.ClearField("signature_subject")


def other_request(shown: Shown) -> None:
    shown.signature_subject.request_id = "order-2"


def other_bot(shown: Shown) -> None:
    shown.signature_subject.principal += "s"


def other_key(shown: Shown) -> None:
    shown.signature_subject.key = "p256"


def altered_statement(shown: Shown) -> None:
    shown.statement = shown.statement.replace(b"1 of admins", b"9 of admins")


def altered_version(shown: Shown) -> None:
    shown.statement = shown.statement.replace(b'"version":"2"', b'"version":"3"')


def altered_words(shown: Shown) -> None:
    """The same statement, with a summary of the server's own, under the name that goes with it."""
    shown.statement = shown.statement.replace(b'"summary":"Sign', b'"summary":"Keep')
    rename(shown)


def other_statement(shown: Shown) -> None:
    """A whole proposal for another payload, under its own name."""
    shown.CopyFrom(escalated(replace(TRANSFER, parts=(dynamic_fee(value=b"\x01"),))))


def other_enclave(shown: Shown) -> None:
    said = replace(decode_statement(shown.statement), enclave_id="cd" * 32)
    shown.statement = said.encode()
    rename(shown)


def other_name(shown: Shown) -> None:
    shown.name = f"enclaves/hot/proposals/{'0' * 64}"


def swapped_document(shown: Shown) -> None:
    shown.document = encode_policy(policy(allow_digest("other"), version=2))


def no_document(shown: Shown) -> None:
    shown.document = b""


def stray_payload(shown: Shown) -> None:
    shown.signature_subject.payload.raw_digest = b"d" * 32


SIGNING = (
    swapped_payload, swapped_kind, unreadable_payload, no_payload, no_subject, other_request, other_bot, other_key,
    altered_statement, altered_words, other_statement, other_enclave, other_name,
)  # fmt: skip
PUBLISHING = (swapped_document, no_document, stray_payload, altered_version, other_name)
LIES = [*((escalated(TRANSFER), lie) for lie in SIGNING), *((publishing(), lie) for lie in PUBLISHING)]


@pytest.mark.parametrize(("honest", "lie"), LIES, ids=lambda value: getattr(value, "__name__", "proposal"))
async def test_lies_are_found(server: ScriptedServer, honest: Shown, lie: Callable[[Shown], object]) -> None:
    """Whatever is changed in an honest answer about a proposal, SignatureMismatch is raised, and nothing retried."""
    server.governance.proposal = honest
    server.governance.script.append(lie)
    async with server.client(expected_enclave_id=b"\xab" * 32) as client:
        with pytest.raises(sdk.SignatureMismatch):
            await client.get_proposal(honest.name)
    assert server.governance.requests == [honest.name]


@pytest.mark.parametrize("lie", SIGNING, ids=lambda lie: lie.__name__)
async def test_lies_in_a_watch_and_a_ballot(server: ScriptedServer, lie: Callable[[Shown], object]) -> None:
    """What a watch tells, and what comes back for a ballot, is checked in the same way."""
    server.governance.proposal = escalated(TRANSFER)
    async with server.client(expected_enclave_id=b"\xab" * 32) as client:
        honest = await client.get_proposal(server.governance.proposal.name)
        server.governance.script.append(lie)
        with pytest.raises(sdk.SignatureMismatch):
            await anext(client.watch_proposal(honest.name))
        server.governance.script.append(lie)
        with pytest.raises(sdk.SignatureMismatch):
            await client.cast(honest, Voice.REJECT, BOB)


@pytest.mark.parametrize("name", ["facts_sha256", "kind", "payload_sha256", "words_sha256"])
async def test_statement_about_something_else(server: ScriptedServer, name: str) -> None:
    """Each hash of the statement is recomputed here: one that is wrong, under a name that fits, is a lie."""
    honest = escalated(TRANSFER)
    parameters = dict(decode_statement(honest.statement).parameters)
    parameters[name] = "raw-digest" if name == "kind" else "0" * 64
    said = replace(decode_statement(honest.statement), parameters=tuple(sorted(parameters.items())))
    honest.statement = said.encode()
    rename(honest)
    server.governance.proposal = honest
    async with server.client() as client:
        with pytest.raises(sdk.SignatureMismatch, match=name):
            await client.get_proposal(honest.name)


async def test_honest_proposals_pass(server: ScriptedServer) -> None:
    """What is to be signed is decoded here: effects, words and hash are ours, not the server's."""
    server.governance.proposal = escalated(TRANSFER)
    del server.governance.proposal.signature_subject.effects[:]
    server.governance.proposal.signature_subject.signing_input = b"lies"
    intent = intents.parse(TRANSFER, intents.ANYBODY)
    async with server.client() as client:
        shown = await client.get_proposal(server.governance.proposal.name)
    assert shown.subject is not None
    assert (shown.subject.payload, shown.subject.effects) == (TRANSFER, intent.effects)
    assert (shown.subject.signing_input, shown.subject.words) == (intent.signing_input, intents.describe(intent))
    assert (shown.id, shown.outcome) == (proposal_id_of(shown.statement).hex(), Outcome.OPEN)
    assert shown.name == proposal_name(shown.said.enclave, bytes.fromhex(shown.id))


async def test_policy_comes_with_its_document(server: ScriptedServer) -> None:
    """The document that a statement names is there while the proposal is open; afterwards the ledger has it."""
    server.governance.proposal = publishing()
    async with server.client() as client:
        assert (await client.get_proposal(server.governance.proposal.name)).document == DOCUMENT
        server.governance.proposal.state = Shown.STATE_EXECUTED
        server.governance.proposal.document = b""
        assert (await client.get_proposal(server.governance.proposal.name)).outcome is Outcome.EXECUTED


async def test_enclave_is_learned_once(server: ScriptedServer) -> None:
    """Whoever expects no enclave takes the first one that a statement names, and no other for the client's life."""
    server.governance.proposal = escalated(TRANSFER)
    async with server.client() as client:
        await client.get_proposal(server.governance.proposal.name)
        other_enclave(server.governance.proposal)
        with pytest.raises(sdk.SignatureMismatch):
            await client.get_proposal(server.governance.proposal.name)


async def test_lists_come_without_payloads(server: ScriptedServer) -> None:
    """In a list nothing is shown of the payload; the statement is checked all the same."""
    server.governance.proposal = escalated(TRANSFER)
    server.governance.script.extend((no_subject, altered_statement))
    async with server.client() as client:
        (listed,) = await client.list_proposals()
        assert listed.subject is None
        with pytest.raises(sdk.SignatureMismatch):
            await client.list_proposals()


async def test_watch_goes_on_after_a_break(server: ScriptedServer, time: Time) -> None:
    """A watch whose call breaks is begun again; what was told before is not told twice."""

    def approved(shown: Shown) -> None:
        shown.approved_time_ms = shown.due_time_ms = 5

    def vetoed(shown: Shown) -> None:
        shown.state = Shown.STATE_VETOED

    def nothing(shown: Shown) -> None:
        del shown

    server.governance.script.extend((nothing, UNAVAILABLE, UNAVAILABLE, nothing, approved, UNAVAILABLE, vetoed))
    async with server.client(time=time) as client:
        told = [shown async for shown in client.watch_proposal(server.governance.proposal.name)]
    assert [(shown.outcome, shown.approved_at) for shown in told] == [
        (Outcome.OPEN, None),
        (Outcome.OPEN, 5),
        (Outcome.VETOED, None),
    ]
    assert time.slept == [0.15, 0.2, 0.15]


async def test_watch_gives_up(server: ScriptedServer, time: Time) -> None:
    """A server that cannot be reached until the deadline ends a watch with Unavailable; one that says no, at once."""
    name = server.governance.proposal.name
    server.governance.script.extend([UNAVAILABLE] * 50)
    async with server.client(time=time, deadline_s=2.0) as client:
        with pytest.raises(sdk.Unavailable):
            await anext(client.watch_proposal(name))
        assert 1_000 < time.now < 1_002.5
        server.governance.script.clear()
        with pytest.raises(sdk.UnusableAnswer):
            await anext(client.watch_proposal(name))


async def test_no_yes_without_proof_of_the_enclave(server: ScriptedServer) -> None:
    """A server that shows no first entry gets no approval, however the proposal was read; a no needs no proof."""
    async with server.client() as client:
        shown = await client.get_proposal(server.governance.proposal.name)
        with pytest.raises(sdk.KeyvaultRpcError, match="UNIMPLEMENTED"):
            await client.cast(shown, Voice.APPROVE, BOB)
        assert await client.cast(shown, Voice.REJECT, BOB) == shown


async def test_ballot_is_asked_again(server: ScriptedServer, time: Time) -> None:
    """A ballot that could not be cast now is cast again: the same word is the same ballot."""
    async with server.client(time=time) as client:
        shown = await client.get_proposal(server.governance.proposal.name)
        server.governance.script.extend((UNAVAILABLE, UNAVAILABLE))
        assert await client.cast(shown, Voice.REJECT, BOB) == shown
    assert time.slept == [0.15, 0.2]
