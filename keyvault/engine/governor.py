"""Changes of power in one term: records what is asked and said, and carries out what is approved.

Laws:

1. One change at a time, and each fact alone (Sequencer law 6). What is to be refused is refused before anything waits.
2. The ledger is what stands between asking and doing: a proposal is durable before it is carried out, and whoever
   comes after a crash carries on from there. Doing it twice is doing it once: the token finds what it made, or finds
   nothing left to destroy.
3. A refusal is evidence, too: it is recorded, as often as the caller's budget permits.
4. What fails for now (a token that is away) is tried again at the next look; what the rules refuse stays undone.
5. In quarantine one thing may be asked, spoken about and carried out: to leave it, and to give up exactly what was
   seen. What else is brought is refused without a record: the ledger is not to grow by it.
6. While a node of a pair stands, who leads may be asked, spoken about and carried out, and nothing else; once members
   named another node nothing is said in this term any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress

from keyvault.core.approvals import Voice
from keyvault.core.charter import AT_ONCE
from keyvault.core.commands import CastBallot, Propose
from keyvault.core.decide import decide_ballot, decide_proposal, proposed_rotation, refused_change
from keyvault.core.due import destroyed, due_destructions, due_proposals, due_rotations
from keyvault.core.errors import Broken, Conflict, NotFound, NotLeader, Reason, Refused, Unavailable
from keyvault.core.events import BallotCast, Change, Event, IncarnationStarted, ProposalMade
from keyvault.core.execution import KeyToMake, carry_out, lost_mark
from keyvault.core.governance import stops_at_once
from keyvault.core.ids import Principal, UnixMillis
from keyvault.core.keys import KeyVersion
from keyvault.core.marks import Quarantine
from keyvault.core.pair_changes import check_asked, is_over
from keyvault.core.pair_words import followers_of
from keyvault.core.proposals import Proposal
from keyvault.core.state import State, not_before
from keyvault.core.statements import Action, Statement, decode_statement, proposal_id_of
from keyvault.core.token_changes import TokenToJoin, proved
from keyvault.engine.appender import Appender
from keyvault.engine.clock import Clock
from keyvault.engine.copies import Copies, MadeKey, Proof
from keyvault.engine.refusals import RefusalBudget, quarantined
from keyvault.engine.sequencer import Sequencer
from keyvault.hsm.base import Token
from keyvault.ledger import codec
from keyvault.store.base import Store

CheckNodes = Callable[[Sequence[Principal]], None]
"""Raise Refused unless this node could wait for these, and they could lead; it could not take back that it must."""


class Governor:
    """The only one that changes power in a term."""

    def __init__(
        self,
        *,
        store: Store,
        token: Token,
        sequencer: Sequencer,
        appender: Appender,
        clock: Clock,
        quarantine: Quarantine | None = None,
        left: Callable[[], Awaitable[None]],
        check_nodes: CheckNodes,
    ) -> None:
        """``left`` is called when members have left the ``quarantine``, or named the node, which stood."""
        self._quarantine = quarantine
        self._left = left
        self._check_nodes = check_nodes
        self._store = store
        self._token = token
        self._copies = Copies(token, lambda: self._state)
        self._sequencer = sequencer
        self._appender = appender
        self._clock = clock
        self._refusals = RefusalBudget()
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Proposal]] = set()

    @property
    def _state(self) -> State:
        return self._appender.state

    async def propose(self, command: Propose) -> Proposal:
        """See Enclave.propose."""
        return await self._whole(self._propose(command))

    async def cast(self, command: CastBallot) -> Proposal:
        """See Enclave.cast."""
        return await self._whole(self._cast(command))

    async def report(self, node: Principal, proofs: Sequence[Proof]) -> None:
        """See Enclave.report."""
        async with self._changing:
            self._check_term()
            check_asked(self._state, Action.TOKEN_JOIN)
            new = {(proof.key, proof.version): proof for proof in proofs if not self._copies.is_known(node, proof)}
            for proof in new.values():
                await self._copies.check(node, proof)
            if new:
                await self._sequencer.commit_alone(lambda: self._proved(node, tuple(new.values())))

    def _proved(self, node: Principal, proofs: tuple[Proof, ...]) -> tuple[Event, ...]:
        state, now = self._state, self._now()
        return tuple(proved(state, node, each.key, each.version, each.signature, now) for each in proofs)

    async def close(self) -> None:
        """Let what was begun end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def do_what_is_due(self) -> None:
        """See Enclave.govern."""
        state = self._state
        if is_over(state):
            return
        try:
            now = self._now()
        except Unavailable:  # the clock is in doubt: when it is not, what is due still is
            return
        for proposal in due_proposals(state, now):
            async with self._changing:
                await self._try(self._carry_out(proposal))
        if self._quarantine is not None or state.stands or is_over(state):
            return
        for key in due_destructions(state, now):
            async with self._changing:
                await self._try(self._destroy(key))
        for statement in due_rotations(state, now).values():
            async with self._changing:
                await self._try(self._propose_rotation(statement))

    # Asking and saying --------------------------------------------------------------------------------------------

    async def _propose(self, command: Propose) -> Proposal:
        name = proposal_id_of(command.statement)
        async with self._changing:
            self._check_permitted(decode_statement(command.statement))
            if self._store.find(codec.proposal_key(name)) is None:
                await self._record(
                    lambda: decide_proposal(self._state, command, self._now()),
                    command.principal,
                    decode_statement(command.statement).action,
                    b"",
                )
            await self._carry_on(name)
            return self._shown(name)

    async def _cast(self, command: CastBallot) -> Proposal:
        key = codec.ballot_key(command.proposal, command.voice, command.signature.keyid)
        async with self._changing:
            self._check_term()
            if self._quarantine is not None or self._state.stands:
                self._check_permitted(self._state.proposals.find(command.proposal).statement)
            if self._store.find(key) is None or not self._stands(command):
                await self._record(
                    lambda: decide_ballot(self._state, command, self._now()),
                    command.principal,
                    command.voice,
                    command.proposal,
                )
            if command.voice is Voice.APPROVE:
                await self._carry_on(command.proposal)
            return self._shown(command.proposal)

    def _check_permitted(self, statement: Statement) -> None:
        """Raise Refused for all but leaving the quarantine in quarantine, and for that outside; see laws 5 and 6."""
        self._check_term()
        check_asked(self._state, statement.action)
        if statement.action is Action.PAIR_SET:
            self._check_nodes((Principal(statement["leader"]), *followers_of(statement["followers"])))
        if self._state.stands:  # in quarantine, too, members name the node first
            return
        leaving = statement.action is Action.LEAVE_QUARANTINE
        if self._quarantine is None:
            if leaving:
                raise Refused(Reason.STATE_MISMATCH, f"enclave {self._state.enclave} is not in quarantine")
            return
        if not leaving:
            raise quarantined(self._quarantine)
        if lost_mark(statement) != self._quarantine.lost:
            raise Refused(
                Reason.STATEMENT_MISMATCH,
                f"the statement gives up {lost_mark(statement)}, what was seen is {self._quarantine.lost}",
            )

    def _check_term(self) -> None:
        """Raise NotLeader once members named another node."""
        if is_over(self._state):
            raise NotLeader

    def _stands(self, command: CastBallot) -> bool:
        """Return whether what was said once is still the last word of its key, as far as that can matter."""
        proposal = self._state.proposals.open.get(command.proposal)
        if proposal is None:
            return True
        ballot = proposal.ballots.get(command.signature.keyid)
        return ballot is not None and ballot.voice is command.voice

    async def _record(
        self, decide: Callable[[], ProposalMade | BallotCast], principal: Principal, subject: str, proposal: bytes
    ) -> None:
        try:
            event = decide()  # a no costs nobody anything: signatures go on
            await self._sequencer.commit_alone(decide, urgent=stops_at_once(self._state, event))
        except (Refused, NotFound) as refused:
            await self._record_refusal(principal, subject, proposal, refused)
            raise

    async def _record_refusal(
        self, principal: Principal, subject: str, proposal: bytes, refused: Refused | NotFound
    ) -> None:
        now = self._now()
        self._refusals.spend(principal, now)
        known = proposal if proposal in self._state.proposals.open or proposal in self._state.proposals.closed else b""
        await self._sequencer.commit(refused_change(self._state, principal, subject, known, refused, now))

    def _shown(self, name: bytes) -> Proposal:
        """Return the proposal; of one that ended long ago nothing is known here but that it ended."""
        return self._state.proposals.find(name)

    # Carrying out -------------------------------------------------------------------------------------------------

    async def _carry_on(self, name: bytes) -> None:
        """Carry the proposal out if it is time; if it fails for now, the next look tries again."""
        if name in self._state.proposals.ready:
            await self._try(self._carry_out(name))

    async def _try(self, work: Coroutine[None, None, None]) -> None:
        with suppress(Refused, NotFound, Unavailable, Conflict):
            await work

    async def _carry_out(self, name: bytes) -> None:
        plan = carry_out(self._state, name, self._now())
        self._check_permitted(self._state.proposals.find(name).statement)
        if isinstance(plan, KeyToMake):
            made = await self._copies.make(plan)
            await self._sequencer.commit_alone(lambda: self._made(name, made))
            return
        if isinstance(plan, TokenToJoin):
            wrapped_key = await self._copies.wrap_for(plan)
            await self._sequencer.commit_alone(lambda: self._joined(name, wrapped_key))
            return
        proposal = self._state.proposals.open[name]
        urgent, stood = proposal.duty in AT_ONCE, self._state.stands
        await self._sequencer.commit_alone(lambda: self._changed(name), urgent=urgent)
        if isinstance(plan, IncarnationStarted):
            await self._left()
            self._quarantine = None
        elif stood and self._quarantine is None:
            await self._left()

    def _made(self, name: bytes, made: MadeKey) -> tuple[Event, ...]:
        plan = carry_out(self._state, name, self._now())
        if not isinstance(plan, KeyToMake):
            raise Broken("a proposal that makes a key was decided as something else")
        return made.events(plan)

    def _joined(self, name: bytes, wrapped_key: bytes) -> Change:
        plan = carry_out(self._state, name, self._now())
        if not isinstance(plan, TokenToJoin):
            raise Broken("a proposal that joins a token was decided as something else")
        return plan.joined(wrapped_key)

    def _changed(self, name: bytes) -> Change:
        plan = carry_out(self._state, name, self._now())
        if isinstance(plan, KeyToMake | TokenToJoin):
            raise Broken("a proposal for which the token works was decided as one for which it does not")
        return plan

    async def _destroy(self, key: KeyVersion) -> None:
        destroyed(self._state, key.key, key.version, self._now())
        await self._token.destroy(key.token_object_id, key.algorithm)
        await self._sequencer.commit_alone(lambda: destroyed(self._state, key.key, key.version, self._now()))

    async def _propose_rotation(self, statement: Statement) -> None:
        def decide() -> Event:
            return proposed_rotation(self._state, statement, self._now())

        await self._sequencer.commit_alone(decide)

    def _now(self) -> UnixMillis:
        return not_before(self._state, self._clock.now())

    async def _whole(self, work: Coroutine[None, None, Proposal]) -> Proposal:
        """Do it to its end, whether or not its caller waits."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Proposal]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone; then nobody else would look at it
