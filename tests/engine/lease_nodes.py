"""A node of the simulated world: the machine under test, and the least of a shell, appender and sequencer around it."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from keyvault.engine import lease_events as said
from keyvault.engine.lease import Leadership
from keyvault.store.base import Lease
from tests.engine.lease_invariants import (
    Release,
    a_deposed_leader_releases_nothing,
    barrier_before_trust,
    one_term_at_a_time,
    terms_do_not_overlap,
)
from tests.engine.lease_servers import Entry, Kind, Reply, Server, Session, Write
from tests.engine.lease_term import Answer, Call, Term

if TYPE_CHECKING:
    from tests.engine.lease_world import World

RECOVERY_S = 0.1
"""From the end of a term until the node folded the ledger anew."""


class Node:
    """One keyvault process after another on one said."""

    def __init__(self, world: "World", number: int, kind: type[Leadership]) -> None:
        self.number = number
        self.rate = 1 + world.random.uniform(-world.drift, world.drift)
        self.willing = True
        self.paused = False
        self.jumped = False
        self.repeats = False
        self.life = 0
        self.up = False
        self.session: Session | None = None
        self.term: Term | None = None
        self._kind = kind
        self._world = world
        self._offset = 0.0
        self._signatures = 0
        self.start()

    def now(self) -> float:
        return self._offset + self.rate * self._world.now

    def start(self) -> None:
        """Start a new process, with a clock that counts from anywhere."""
        random = self._world.random
        self.up, self.life, self.paused, self.jumped = True, self.life + 1, False, False
        self._offset = random.uniform(0, 1000)
        self._held: list[Callable[[], None]] = []
        self._calls: list[Call] = []
        self._armed = math.inf
        self._taking: Lease | None = None
        self.leadership = self._kind(now=self.now(), jitter=random.random())
        self._world.at(0.05, self.mine(self._recovered))
        self._arm()

    def crash(self, *, silently: bool) -> None:
        """Die. ``silently``: no packet says so."""
        self.up, self.life, self.term = False, self.life + 1, None
        session, self.session = self.session, None
        if session is not None:
            self._world.close(session, silently=silently)

    def jump(self, seconds: float) -> None:
        """Set the clock forward."""
        self._offset += seconds
        self.jumped = True
        if self.up:
            self._armed = math.inf
            self._arm()

    def resume(self) -> None:
        """Go on after a pause: what came meanwhile is there, in an order that nobody knows."""
        self.paused = False
        held, self._held = self._held, []
        if held and self._world.random.random() < 0.5:
            held = held[-1:] + held[:-1]
        for each in held:
            self._deliver(each)

    def mine(self, action: Callable[[], None]) -> Callable[[], None]:
        """Return what runs the action in this process only, and not while it is paused."""
        return self.of_life(self.life, action)

    def of_life(self, life: int, action: Callable[[], None]) -> Callable[[], None]:
        """Return what runs the action if the process of this life still lives."""
        return partial(self._if_alive, life, action)

    def _if_alive(self, life: int, action: Callable[[], None]) -> None:
        if life == self.life:
            self._deliver(action)

    def _deliver(self, action: Callable[[], None]) -> None:
        if self.paused:
            self._held.append(action)
        else:
            action()

    # The machine ------------------------------------------------------------------------------------------------

    def tell(self, event: said.Event) -> None:
        if self._world.transcript is not None and not isinstance(event, said.Woke):
            self._world.say(f"node {self.number}: {event}")
        for effect in self.leadership.step(event):
            if self._world.transcript is not None:
                self._world.say(f"node {self.number}:     -> {effect}")
            self._do(effect)
        self._arm()

    def _tell_of_an_answer(self, event: said.Event) -> None:
        if self.repeats:
            self._world.count("told twice")
            self._world.at(self._world.random.uniform(0, 1.5), self.mine(lambda: self._tell_again(event)))
        self.tell(event)

    def _tell_again(self, event: said.Event) -> None:
        self.tell(replace(event, now=self.now()))

    def _arm(self) -> None:
        wake_at = self.leadership.wake_at
        if wake_at == math.inf:
            return
        rings_at = (wake_at - self._offset) / self.rate
        if rings_at < self._armed:
            self._armed = rings_at
            self._world.at(max(rings_at - self._world.now, 0) + 1e-9, self.mine(partial(self._ring, rings_at)))

    def _ring(self, rings_at: float) -> None:
        if rings_at == self._armed:
            self._armed = math.inf
            self.tell(said.Woke(now=self.now()))

    def _do(self, effect: said.Effect) -> None:
        match effect:
            case said.Look():
                self._look()
            case said.TakeOver():
                self._take_over(effect)
            case said.LetGo():
                self._world.count("let go")
                self._close()
            case said.Lead():
                self._lead(effect.epoch)
            case said.Beat():
                self._beat()
            case said.StepDownNow():
                self._step_down(effect.epoch)
            case said.EndTerm():
                self._end_term(effect)

    def set_willing(self, *, willing: bool) -> None:
        self.willing = willing
        if self.up:
            self._world.at(0, self.mine(lambda: self.tell(said.Eligible(is_eligible=willing, now=self.now()))))

    def _recovered(self) -> None:
        self.tell(said.Eligible(is_eligible=self.willing, now=self.now()))

    # The store --------------------------------------------------------------------------------------------------

    def lost(self, session: Session) -> None:
        """Learn that a connection ended."""
        session.open_here = False
        if self.session is session:
            self.session = None
        for call in [call for call in self._calls if call.session is session]:
            self._return(call, call.lost)

    def _call(self, run: Callable[[Call, Session], None], lost: Callable[[], None]) -> None:
        session = self.session
        if session is None:
            lost()
            return
        call = Call(session, lost)
        self._calls.append(call)
        self._world.to_server(session, partial(run, call, session))

    def _reply(self, call: Call, action: Callable[[], None]) -> None:
        """Send an answer from the server."""
        self._world.to_node(call.session, partial(self._return, call, action))

    def _return(self, call: Call, action: Callable[[], None]) -> None:
        if call in self._calls and not call.done:
            call.done = True
            self._calls.remove(call)
            action()

    def _look(self) -> None:
        if self.session is None:
            self.session = self._world.connect(self)
        if self.session is None:
            self._world.at(0.2, self.mine(self._look_failed))
            return
        cluster = self._world.cluster

        def run(call: Call, session: Session) -> None:
            lease = cluster.lease(session.server)
            self._reply(call, lambda: self._saw(lease, session))

        self._call(run, self._look_failed)

    def _look_failed(self) -> None:
        self.tell(said.LookFailed(now=self.now()))

    def _saw(self, lease: Lease, session: Session) -> None:
        self._tell_of_an_answer(said.Saw(lease=lease, through=session.number, now=self.now()))

    def _take_over(self, effect: said.TakeOver) -> None:
        if self.session is None or self.session.number != effect.through:
            self._world.at(0, self.mine(lambda: self._take_over_failed(unknown=False)))
            return
        self._taking = effect.seen
        sent_at = self.now()

        def took(reply: Reply, epoch: int) -> None:
            if reply is Reply.DONE or (reply is Reply.NOTICE and self._world.trusts.notices):
                self._tell_of_an_answer(said.TookOver(epoch=epoch, sent_at=sent_at, now=self.now()))
            else:
                self._take_over_failed(unknown=reply is not Reply.FENCED)

        self._write_call(Kind.TAKE, None, took)

    def _take_over_failed(self, *, unknown: bool) -> None:
        if unknown:
            self._close()
        self._tell_of_an_answer(said.TakeOverFailed(unknown=unknown, now=self.now()))

    def _write_call(self, kind: Kind, entry: Entry | None, answered: Callable[[Reply, int], None]) -> None:
        term = self.term

        def run(call: Call, session: Session) -> None:
            write = Write(
                kind=kind,
                session=session,
                holder=f"{self.number}.{life}",
                epoch=0 if term is None else term.epoch,
                seen=seen,
                entry=entry,
                expected=expected,
            )
            self._world.cluster.write(write, lambda reply, epoch: self._reply(call, partial(answered, reply, epoch)))

        life, seen, expected = self.life, self._taking, 0 if term is None else term.size
        self._call(run, lambda: answered(Reply.LOST, 0))

    def _close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self._world.close(session, silently=False)

    # The term ---------------------------------------------------------------------------------------------------

    def _lead(self, epoch: int) -> None:
        one_term_at_a_time(epoch=epoch, leads=None if self.term is None else self.term.epoch)
        term = self.term = Term(epoch=epoch)
        seen = self._taking
        world = self._world
        how = "empty" if not seen or not seen.holder else "told" if seen.session_gone else "silent"
        world.count(f"lead: {how}")
        if how == "silent" and not self.jumped:
            others = (node for node in world.nodes if node is not self and node.up)
            terms_do_not_overlap(
                epoch, [(node.number, led) for node in others if (led := node.leadership.leads(node.now())) is not None]
            )

        def run(call: Call, session: Session) -> None:
            entries, server = tuple(session.server.shown.entries), session.server
            self._reply(call, lambda: self._have_read(term, server, entries))

        self._call(run, lambda: self._failed(term, Reply.LOST))

    def _have_read(self, term: Term, server: Server, entries: tuple[Entry, ...]) -> None:
        term.server = server
        if term.ended or term.leaving:
            return
        term.size = len(entries)
        term.known = {entry.request: (index, entry) for index, entry in enumerate(entries) if entry.request}
        if self._world.trusts.what_was_read:
            self._serve(term)
        else:
            self._write(term, Kind.APPEND, Entry(epoch=term.epoch))

    def _serve(self, term: Term) -> None:
        term.serves = True
        if term.server is not None:
            barrier_before_trust(self._world.cluster, term.server, term.size)

    def _beat(self) -> None:
        if self.term is not None and not self.term.busy:
            self._write(self.term, Kind.BEAT, None)

    def _step_down(self, epoch: int) -> None:
        term = self.term = self.term or Term(epoch=epoch)
        term.leaving, term.serves = True, False
        self._go_on(term)

    def _end_term(self, effect: said.EndTerm) -> None:
        self._world.count(f"end: {effect.ending}")
        term, self.term = self.term, None
        one_term_at_a_time(epoch=effect.epoch, leads=None if term is None else term.epoch)
        if term is not None:
            term.ended = True
            for answers in term.waiting.values():
                for answer in answers:
                    answer(False)  # noqa: FBT003  the client's callback has one argument
        self._close()
        self._world.at(RECOVERY_S, self.mine(self._recovered))

    def _write(self, term: Term, kind: Kind, entry: Entry | None) -> None:
        term.queue.append((kind, entry))
        self._go_on(term)

    def _go_on(self, term: Term) -> None:
        if term.busy or term.ended:
            return
        if not term.queue:
            if term.leaving:
                term.queue.append((Kind.STEP_DOWN, None))
            else:
                return
        term.busy = True
        kind, entry = term.queue.popleft()
        sent_at = self.now()
        self._write_call(kind, entry, lambda reply, _: self._written(term, kind, entry, sent_at, reply))

    def _written(self, term: Term, kind: Kind, entry: Entry | None, sent_at: float, reply: Reply) -> None:
        if term.ended and not self._world.trusts.the_deposed:
            return
        trusts = self._world.trusts
        if not (
            reply is Reply.DONE or (reply is Reply.NOTICE and trusts.notices) or (reply is Reply.LOST and trusts.losses)
        ):
            self._failed(term, reply)
            return
        term.busy = False
        if kind is Kind.STEP_DOWN:
            self._tell_of_an_answer(said.SteppedDown(epoch=term.epoch, now=self.now()))
            return
        if entry is not None:
            term.size += 1
        self._tell_of_an_answer(said.Acknowledged(epoch=term.epoch, sent_at=sent_at, now=self.now()))
        if entry is not None and (not term.ended or trusts.the_deposed):
            self._appended(term, entry)
        self._go_on(term)

    def _failed(self, term: Term, reply: Reply) -> None:
        unknown = reply is not Reply.FENCED
        self._tell_of_an_answer(said.WriteFailed(epoch=term.epoch, unknown=unknown, now=self.now()))

    def _appended(self, term: Term, entry: Entry) -> None:
        if not entry.request:
            if not term.leaving:
                self._serve(term)
            return
        term.known[entry.request] = (term.size - 1, entry)
        answers = term.waiting.pop(entry.request, [])
        a_deposed_leader_releases_nothing(ended=term.ended, epoch=term.epoch, entry_epoch=entry.epoch)
        for answer in answers:
            self._release(term, entry.request, answer)

    # Clients ----------------------------------------------------------------------------------------------------

    def ask(self, request: str, answer: Answer) -> None:
        """Decide, append, and answer; or say no at once."""
        term = self.term
        if term is None or not term.serves or self.leadership.leads(self.now()) != term.epoch:
            answer(False)  # noqa: FBT003  the client's callback has one argument
        elif request in term.known:
            self._release(term, request, answer)
        elif request in term.waiting:
            term.waiting[request].append(answer)
        else:
            self._signatures += 1
            signature = f"{self.number}.{self.life}.{self._signatures}"
            term.waiting[request] = [answer]
            self._write(term, Kind.APPEND, Entry(epoch=term.epoch, request=request, signature=signature))

    def _release(self, term: Term, request: str, answer: Answer) -> None:
        index, entry = term.known[request]
        world = self._world
        world.history.released.append(Release(request=request, signature=entry.signature, index=index, at=world.now))
        if world.transcript is not None:
            world.say(f"node {self.number}: releases {entry} at {index}")
        answer(True)  # noqa: FBT003  the client's callback has one argument
