"""GovernanceService: carries what members sign to the enclave, and shows how things stand.

The certificate opens the door and decides nothing: what counts are the members' signatures.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from keyvault.core import limits
from keyvault.core.approvals import Voice
from keyvault.core.charter import Charter
from keyvault.core.commands import CastBallot, Propose
from keyvault.core.errors import Malformed, NotFound, Overloaded, Unavailable
from keyvault.core.ids import Principal, UnixMillis, role_of
from keyvault.core.policy import Policy
from keyvault.core.proposals import Outcome, Proposal
from keyvault.core.state import not_before
from keyvault.core.statements import Action, decode_statement
from keyvault.engine.clock import Clock
from keyvault.engine.served import Served
from keyvault.ledger import wire
from keyvault.ledger.codec_charter import decode_charter
from keyvault.ledger.codec_policy import decode_policy
from keyvault.ledger.wire import SHA256_BYTES
from keyvault.rpc.auth import READERS, Context, Door
from keyvault.rpc.keys import check_enclave, guarded
from keyvault.rpc.names import parse_proposal
from keyvault.rpc.proposals import outcome_at, proposal_to_proto
from keyvault.rpc.status import abort, failure_of
from keyvault.v1 import charter_pb2, governance_pb2, governance_pb2_grpc, policy_pb2

_SPEAKERS = ("admin", "approver")
_BOTS_TOO = (*READERS, "bot")
_PAGE_DEFAULT = 100
_SETTLING_S = limits.PAIR_SILENCE_MS / 1000
_DOCUMENT_BYTES_MAX = max(limits.POLICY_BYTES_MAX, limits.CHARTER_BYTES_MAX)


class GovernanceService(governance_pb2_grpc.GovernanceServiceServicer):
    """Policy, charter and proposals of one enclave."""

    def __init__(self, enclave: Served, door: Door, clock: Clock) -> None:
        self._enclave = enclave
        self._door = door
        self._clock = clock
        self._watchers: Counter[Principal] = Counter()
        self._stopping = asyncio.Event()

    def drain(self) -> None:
        """End every watch with UNAVAILABLE."""
        self._stopping.set()

    # How things stand ---------------------------------------------------------------------------------------------

    async def GetPolicy(
        self, request: governance_pb2.GetPolicyRequest, context: Context
    ) -> governance_pb2.GetPolicyResponse:
        """See governance.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> governance_pb2.GetPolicyResponse:
            check_enclave(self._enclave, "parent", request.parent)
            state = self._enclave.shown()
            return governance_pb2.GetPolicyResponse(
                policy=policy_pb2.Policy.FromString(state.policy_document),
                document=state.policy_document,
                sha256=state.policy_sha256,
            )

        return await guarded(context, work)

    async def GetCharter(
        self, request: governance_pb2.GetCharterRequest, context: Context
    ) -> governance_pb2.GetCharterResponse:
        """See governance.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> governance_pb2.GetCharterResponse:
            check_enclave(self._enclave, "parent", request.parent)
            state = self._enclave.shown(lead=True)
            return governance_pb2.GetCharterResponse(
                charter=charter_pb2.Charter.FromString(state.charter_document),
                document=state.charter_document,
                sha256=state.charter_sha256,
            )

        return await guarded(context, work)

    async def ListFreezes(
        self, request: governance_pb2.ListFreezesRequest, context: Context
    ) -> governance_pb2.ListFreezesResponse:
        """See governance.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> governance_pb2.ListFreezesResponse:
            check_enclave(self._enclave, "parent", request.parent)
            return governance_pb2.ListFreezesResponse(
                freezes=[
                    governance_pb2.ListFreezesResponse.Freeze(scope=wire.FREEZE_SCOPES.numbers[scope], name=name)
                    for scope, name in sorted(self._enclave.shown().frozen)
                ]
            )

        return await guarded(context, work)

    async def GetProposal(
        self, request: governance_pb2.GetProposalRequest, context: Context
    ) -> governance_pb2.Proposal:
        """See governance.proto."""
        principal = await self._door.admit(context, *_BOTS_TOO)

        async def work() -> governance_pb2.Proposal:
            proposal = self._named(request.name, principal)
            self._enclave.shown(lead=_is_about_the_lead(proposal))
            return self._show(proposal)

        return await guarded(context, work)

    async def ListProposals(
        self, request: governance_pb2.ListProposalsRequest, context: Context
    ) -> governance_pb2.ListProposalsResponse:
        """See governance.proto."""
        await self._door.admit(context, *READERS)

        async def work() -> governance_pb2.ListProposalsResponse:
            check_enclave(self._enclave, "parent", request.parent)
            return self._page(request)

        return await guarded(context, work)

    def _page(self, request: governance_pb2.ListProposalsRequest) -> governance_pb2.ListProposalsResponse:
        size = request.page_size or _PAGE_DEFAULT
        if not 0 < size <= limits.PROPOSAL_PAGE_MAX:
            raise Malformed("page_size", f"must be 1 to {limits.PROPOSAL_PAGE_MAX}, or 0 for {_PAGE_DEFAULT}")
        before = _index_of(request.page_token)
        now, state = self._now(), self._enclave.shown(lead=True)
        known = state.proposals
        listed = [
            proposal
            for proposal in (*known.open.values(), *known.closed.values())
            if (before is None or proposal.index < before)
            and (request.include_closed or outcome_at(proposal, now) is Outcome.OPEN)
            and (not state.stands or _is_about_the_lead(proposal))  # nothing else can be decided there
        ]
        listed.sort(key=lambda proposal: proposal.index, reverse=True)
        page: list[governance_pb2.Proposal] = []
        room = limits.PAGE_BYTES_MAX
        for proposal in listed[:size]:
            shown = self._show(proposal, whole=False)
            room -= shown.ByteSize()
            if page and room < 0:
                break
            page.append(shown)
        more = len(listed) > len(page)
        return governance_pb2.ListProposalsResponse(
            proposals=page, next_page_token=str(page[-1].ledger_index) if more else ""
        )

    # What members say ---------------------------------------------------------------------------------------------

    async def ProposeChange(
        self, request: governance_pb2.ProposeChangeRequest, context: Context
    ) -> governance_pb2.Proposal:
        """See governance.proto."""
        principal = await self._door.admit(context, *_SPEAKERS)

        async def work() -> governance_pb2.Proposal:
            check_enclave(self._enclave, "parent", request.parent)
            return self._show(await self._enclave.propose(_propose(request, principal)))

        return await guarded(context, work)

    async def CastBallot(self, request: governance_pb2.CastBallotRequest, context: Context) -> governance_pb2.Proposal:
        """See governance.proto."""
        principal = await self._door.admit(context, *_SPEAKERS)

        async def work() -> governance_pb2.Proposal:
            wire.refuse_unknown_fields(request)
            voice = wire.VOICES.word("voice", request.voice)
            if voice is Voice.REQUEST:
                raise Malformed("voice", "a ballot approves, rejects, vetoes or revokes")
            command = CastBallot(
                principal=principal,
                proposal=self._named(request.name, principal).id,
                voice=voice,
                signature=wire.member_signature_from_proto(request.signature),
            )
            return self._show(await self._enclave.cast(command))

        return await guarded(context, work)

    # Watching -----------------------------------------------------------------------------------------------------

    async def WatchProposal(
        self, request: governance_pb2.GetProposalRequest, context: Context
    ) -> AsyncIterator[governance_pb2.Proposal]:
        """See governance.proto."""
        principal = await self._door.admit(context, *_BOTS_TOO)
        try:
            self._check_room(principal)
            name = self._named(request.name, principal).id
        except Exception as error:
            await abort(context, failure_of(error))
            raise
        self._watchers[principal] += 1
        try:
            async with aclosing(self._watch(name)) as watch:
                async for shown in watch:
                    yield shown
        except Exception as error:
            await abort(context, failure_of(error))
            raise
        finally:
            self._watchers[principal] -= 1

    async def _watch(self, name: bytes) -> AsyncGenerator[governance_pb2.Proposal, None]:
        """Yield the proposal now and after each of its changes, until it has ended. Raises Unavailable at a stop."""
        last: object = None
        while True:
            change = asyncio.create_task(self._enclave.next_change())
            try:
                await asyncio.sleep(0)  # now it waits; so no change between the look and the wait is missed
                proposal, now = self._enclave.state.proposals.find(name), self._now()
                if last is not None and not self._is_settled(proposal):  # it is told once it is
                    await self._until(change, _SETTLING_S)
                    continue
                self._enclave.shown(lead=_is_about_the_lead(proposal))
                outcome, standing = outcome_at(proposal, now), self._standing(proposal, now)
                if standing != last:
                    last = standing
                    yield self._show(proposal)
                if outcome is not Outcome.OPEN:
                    return
                await self._until(change, (proposal.statement.expires_at - now) / 1000)
            finally:
                change.cancel()

    def _standing(self, proposal: Proposal, now: UnixMillis) -> object:
        """Return what differs after a change; everything else takes too long to be made for every watch each time."""
        ballots = tuple((ballot.voice, ballot.index) for ballot in proposal.ballots.values())
        return outcome_at(proposal, now), proposal.approved_at, ballots, self._enclave.state.charter_sha256

    def _is_settled(self, proposal: Proposal) -> bool:
        try:
            self._enclave.shown(lead=_is_about_the_lead(proposal))
        except Unavailable:
            return False
        return True

    async def _until(self, change: asyncio.Task[None], seconds: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({change, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if self._stopping.is_set() or self._enclave.stopped.done():
            raise Unavailable("the server is stopping; ask again", retry_after_ms=1_000)

    def _check_room(self, principal: Principal) -> None:
        if self._watchers.total() >= limits.WATCHERS_MAX:
            raise Overloaded(f"{limits.WATCHERS_MAX} watches are open", retry_after_ms=1_000)
        if self._watchers[principal] >= limits.PRINCIPAL_WATCHERS_MAX:
            raise Overloaded(f"{principal} has {limits.PRINCIPAL_WATCHERS_MAX} watches open", retry_after_ms=1_000)

    # ----------------------------------------------------------------------------------------------------------------

    def _named(self, name: str, principal: Principal) -> Proposal:
        """Return the one proposal of this name, or with this beginning; bots see those of their own requests."""
        enclave, digits = parse_proposal("name", name)
        if enclave != self._enclave.state.enclave:
            raise NotFound(f"this server has no enclave {enclave}")
        known = self._enclave.state.proposals
        if len(digits) == 2 * SHA256_BYTES:
            whole = bytes.fromhex(digits)
            found = [table[whole] for table in (known.open, known.closed) if whole in table]
        else:
            every = (*known.open.values(), *known.closed.values())
            found = [each for each in every if each.id.hex().startswith(digits)]
        if role_of(principal) == "bot":
            found = [each for each in found if each.request is not None and each.request.principal == principal]
        if not found:
            raise NotFound(
                f"no proposal {digits} is open, and none of those that ended lately is called so;"
                " keyvault audit show has all that ever were"
            )
        if len(found) > 1:
            raise Malformed("name", f"{len(found)} proposals begin with {digits}: give more digits")
        return found[0]

    def _show(self, proposal: Proposal, *, whole: bool = True) -> governance_pb2.Proposal:
        return proposal_to_proto(self._enclave.state, proposal, self._now(), whole=whole)

    def _now(self) -> UnixMillis:
        """Return the time that counts for proposals: it never goes back."""
        return not_before(self._enclave.state, self._clock.now())


def _is_about_the_lead(proposal: Proposal) -> bool:
    return proposal.statement.action is Action.PAIR_SET


def _propose(request: governance_pb2.ProposeChangeRequest, principal: Principal) -> Propose:
    """Return the command, parsed once. Raises Malformed."""
    wire.refuse_unknown_fields(request)
    if len(request.document) > _DOCUMENT_BYTES_MAX:
        raise Malformed("document", f"longer than {_DOCUMENT_BYTES_MAX} bytes")
    if len(request.wrapped_secret) > limits.WRAPPED_SECRET_BYTES_MAX:
        raise Malformed("wrapped_secret", f"longer than {limits.WRAPPED_SECRET_BYTES_MAX} bytes")
    action = decode_statement(request.statement).action
    policy: Policy | None = None
    charter: Charter | None = None
    if action is Action.POLICY_PUBLISH:
        policy = decode_policy(request.document)
    elif action in (Action.CHARTER_CHANGE, Action.BREAK_GLASS):
        charter = decode_charter(request.document)
    return Propose(
        principal=principal,
        statement=request.statement,
        signature=wire.member_signature_from_proto(request.signature),
        document=request.document,
        policy=policy,
        charter=charter,
        wrapped_secret=request.wrapped_secret,
    )


def _index_of(token: str) -> int | None:
    """Return the ledger index that a page ended at; raise Malformed for a token that no answer held."""
    if not token:
        return None
    if not token.isascii() or not token.isdecimal() or len(token) > 18:  # noqa: PLR2004  digits of 64 bits
        raise Malformed("page_token", "is not one that a list gave")
    return int(token)
