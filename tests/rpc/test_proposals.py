"""How proposals are shown: names, pages, time, what is new, and until when."""

import hashlib
from itertools import count
from pathlib import Path

import grpc
import pytest

from keyvault import client as sdk
from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.proposals import Outcome
from keyvault.core.statements import Action, Statement
from keyvault.v1 import governance_pb2
from tests.intents.building import dynamic_fee
from tests.rpc.governed import NOBODY, SEND, STEP, Governed, escalate, governed, payload_of, refused
from tests.worlds import charter


async def step(here: Governed, number: int) -> sdk.Proposal:
    """Let alice ask for something that is not done yet."""
    async with here.client("admin") as admin:
        return await admin.change(Action.CEREMONY_STEP, {**STEP, "step": str(number)}, signer=here.alice)


@pytest.mark.parametrize("digits", [64, 63, 8])
async def test_beginning_of_a_name(tmp_path: Path, digits: int) -> None:
    """Eight digits and more name the one proposal that begins with them."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        asked = await step(here, 1)
        assert await admin.get_proposal(asked.id[:digits]) == asked
        assert await admin.get_proposal(f"enclaves/hot/proposals/{asked.id[:digits]}") == asked


@pytest.mark.parametrize("name", ["1234567", "0" * 65, "ABCDEF01", "", "enclaves/hot/keys/signer"])
async def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    """Seven digits, sixty-five, capitals, none, or the name of something else are malformed."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        with pytest.raises(sdk.InvalidRequest):
            await admin.get_proposal(name)


async def test_beginning_that_two_have(tmp_path: Path) -> None:
    """Eight digits that two proposals begin with name neither: the asker is told to give more."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        first, second = twins(
            admin.make_statement(await admin.get_enclave(), Action.CEREMONY_STEP, STEP, requester="alice")
        )
        one, other = await admin.propose(first, here.alice), await admin.propose(second, here.alice)
        assert one.id[:8] == other.id[:8]
        with pytest.raises(sdk.InvalidRequest, match="more digits"):
            await admin.get_proposal(one.id[:8])
        assert await admin.get_proposal(other.id[:20]) == other


def twins(said: Statement) -> tuple[Statement, Statement]:
    """Return two statements whose hashes begin with the same 32 bits; takes some 80 000 attempts."""
    before, after = said.encode().split(said.nonce.encode())
    seen: dict[bytes, int] = {}
    for number in count():
        nonce = f"{number:032x}"
        start = hashlib.sha256(before + nonce.encode() + after).digest()[:4]
        if start in seen:
            return with_nonce(said, seen[start]), with_nonce(said, number)
        seen[start] = number
    raise AssertionError("it counts for ever")


def with_nonce(said: Statement, number: int) -> Statement:
    """Return the same statement with this nonce."""
    names = ("action", "enclave", "enclave_id", "policy_version", "requester", "parameters", "expires_at")
    return Statement(nonce=f"{number:032x}", **{name: getattr(said, name) for name in names})


async def test_pages_of_proposals(tmp_path: Path) -> None:
    """Lists come newest first, in pages that together are everything, without payloads and documents."""
    async with governed(tmp_path) as here, here.governance("admin") as governance:
        asked = [await step(here, number) for number in range(1, 5)]
        await escalate(here)
        seen: list[governance_pb2.Proposal] = []
        token = ""
        while True:
            page = await governance.ListProposals(
                governance_pb2.ListProposalsRequest(parent="enclaves/hot", page_size=2, page_token=token)
            )
            seen += page.proposals
            token = page.next_page_token
            if not token:
                break
        indices = [proposal.ledger_index for proposal in seen]
        assert (len(seen), indices) == (5, sorted(indices, reverse=True))
        assert [proposal.name for proposal in seen[1:]] == [proposal.name for proposal in reversed(asked)]
        assert not seen[0].HasField("signature_subject")
        assert not any(proposal.document or proposal.remarks for proposal in seen)


async def test_pages_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: a page that would be too long for a message is shorter than was asked for, and the list still whole."""
    monkeypatch.setattr(limits, "PAGE_BYTES_MAX", 1)
    async with governed(tmp_path) as here, here.client("admin") as admin, here.governance("admin") as governance:
        asked = [await step(here, number) for number in range(1, 4)]
        page = await governance.ListProposals(governance_pb2.ListProposalsRequest(parent="enclaves/hot"))
        assert len(page.proposals) == 1
        assert await admin.list_proposals() == tuple(reversed(asked))


@pytest.mark.parametrize(
    ("size", "token"), [(-1, ""), (limits.PROPOSAL_PAGE_MAX + 1, ""), (1, "x"), (1, "-1"), (1, "9" * 19), (1, "\u0661")]
)
async def test_page_that_cannot_be(tmp_path: Path, size: int, token: str) -> None:
    """A size out of bounds, or a token that no answer held, is malformed."""
    async with governed(tmp_path) as here, here.governance("admin") as governance:
        request = governance_pb2.ListProposalsRequest(parent="enclaves/hot", page_size=size, page_token=token)
        assert (await refused(governance.ListProposals(request))).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_time_ends_a_proposal(tmp_path: Path) -> None:
    """A proposal past its time is shown as expired, also after the clock was set back, and is not listed as open."""
    async with governed(tmp_path) as here, here.client("admin") as admin:
        asked = await step(here, 1)
        here.clock.at = asked.said.expires_at - 1
        assert (await admin.get_proposal(asked.name)).outcome is Outcome.OPEN
        here.clock.at += 1
        assert (await admin.get_proposal(asked.name)).outcome is Outcome.EXPIRED
        assert await admin.list_proposals() == ()
        with pytest.raises(sdk.PreconditionFailed) as caught:
            await admin.cast(asked, Voice.APPROVE, here.bob)
        assert caught.value.reason == "PROPOSAL_EXPIRED"
        here.clock.at -= 3_600_000
        assert (await admin.get_proposal(asked.name)).outcome is Outcome.EXPIRED
        closed = [shown for shown in await admin.list_proposals(include_closed=True) if shown.id == asked.id]
        assert [shown.outcome for shown in closed] == [Outcome.EXPIRED]


async def test_what_ended_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the proposals that ended the last ones are shown; who asks for an older one is sent to the ledger."""
    monkeypatch.setattr(limits, "CLOSED_PROPOSALS_REMEMBERED", 1)
    async with governed(tmp_path) as here, here.client("admin") as admin:
        first, second = await step(here, 1), await step(here, 2)
        for asked in (first, second):
            await admin.cast(asked, Voice.APPROVE, here.bob)
        with pytest.raises(sdk.NotFoundError, match="keyvault audit"):
            await admin.get_proposal(first.name)
        assert (await admin.get_proposal(second.name)).outcome is Outcome.EXECUTED
        with pytest.raises(sdk.NotFoundError, match="keyvault audit"):
            await admin.get_proposal(NOBODY)


async def test_what_is_new_is_remarked(tmp_path: Path) -> None:
    """An approver hears of a first-seen destination and an amount above all before; once signed, it is new no more."""
    async with governed(tmp_path) as here, here.client("admin") as admin, here.client("bot") as bot:
        name = await escalate(here)
        shown = await admin.get_proposal(name)
        marks = [remark.mark for remark in shown.remarks]
        assert marks == ["first-seen destination", "larger than any before"]
        assert shown.subject is not None
        assert shown.subject.words.startswith("Sends ")
        await admin.cast(shown, Voice.APPROVE, here.bob)
        await bot.sign("signer", payload_of(SEND), request_id="order-1")
        assert (await admin.get_proposal(name)).remarks == ()
        again = await admin.get_proposal(await escalate(here, "order-2", payload=dynamic_fee(nonce=b"\x0a")))
        assert again.remarks == ()


async def test_what_counts_is_shown(tmp_path: Path) -> None:
    """Ballots are shown in the order in which they came, and who said yes and counts apart from them."""
    async with governed(tmp_path, CEREMONY="2 of admins") as here, here.client("admin") as admin:
        asked = await admin.cast(await step(here, 1), Voice.APPROVE, here.carol)
        rejected = await admin.cast(asked, Voice.REJECT, here.bob)
        assert [(ballot.member, ballot.voice, ballot.counts) for ballot in rejected.ballots] == [
            ("carol", Voice.APPROVE, True),
            ("bob", Voice.REJECT, True),
        ]
        assert (rejected.approved_by, rejected.quorum) == (("carol",), "2 of admins")


async def test_removed_member_does_not_count(tmp_path: Path) -> None:
    """When a member is removed, no approval of theirs is shown to count, and their key says nothing any more."""
    async with governed(tmp_path, CEREMONY="2 of admins") as here, here.client("admin") as admin:
        asked = await admin.cast(await step(here, 1), Voice.APPROVE, here.carol)
        smaller = charter(version=2, members=(await admin.get_charter()).charter.members[:2])
        done = await admin.change_charter(smaller, signer=here.alice, approvers=[here.bob])
        assert done.outcome is Outcome.EXECUTED
        assert (await admin.get_charter()).charter == smaller
        left = await admin.get_proposal(asked.name)
        assert (left.outcome, left.approved_by, left.quorum) == (Outcome.OPEN, (), "1 of admins")
        assert not any(ballot.counts for ballot in left.ballots)
        with pytest.raises(sdk.Denied):
            await admin.cast(left, Voice.APPROVE, here.carol)
